"""What every stage needs, and which errors pass by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import sqlalchemy as sa

from dicom_node.config.model import NodeSettings
from dicom_node.core.errors import DeviceError, StoreError
from dicom_node.engine import port
from dicom_node.home import Home
from dicom_node.inference import bundles as inference_bundles
from dicom_node.stages.complete import Archives
from dicom_node.stages.guard import Guard
from dicom_node.stages.opt_outs import has_opted_out

#: What passes by itself (disk, database, a GPU that is away, a node that is stopping): the run waits, and nothing is said about
#: the images.
FOR_NOW = (OSError, sa.exc.SQLAlchemyError, StoreError, DeviceError)


@dataclass(frozen=True)
class Rooms:
    """What the walk needs: the home, its settings, the database, the way to submit work."""

    home: Home
    settings: NodeSettings
    database: sa.Engine
    port: port.Port
    archives: Archives | None = None  # who may be asked whether a study is whole; nobody: the quiet time alone decides

    @property
    def bundle_roots(self) -> tuple[Path, ...]:
        """Where bundles are looked for: the site's, then the shipped ones."""
        return (self.home.bundles, *inference_bundles.SHIPPED)

    @cached_property
    def guard(self) -> Guard:
        """Who is asked, before analysis and before sending, whose study it is now."""
        return Guard(self.database, self.settings.archives, self.settings.guard, opted_out=self._opted_out)

    def _opted_out(self, connection: sa.Connection, patient_id: str, issuer: str) -> bool:
        return has_opted_out(connection, self.home, [(patient_id, issuer)])
