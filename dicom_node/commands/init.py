"""``dicom-node init``: write HOME/node.yaml, with a comment beside everything that IT may want to change."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import zoneinfo
from pathlib import Path
from urllib.parse import urlsplit

from dicom_node.commands.peers import Peer, parse_address, parse_peer
from dicom_node.config.load import parse_settings
from dicom_node.core.errors import ConfigError, UsageError
from dicom_node.home import Home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--home", type=Path, required=True, help="folder of the node; made where missing")
    parser.add_argument("--ae-title", default="AINODE", help="AE title of this node (default: AINODE)")
    parser.add_argument("--port", type=int, default=11112, help="DICOM port of this node (default: 11112)")
    parser.add_argument("--web-port", type=int, default=8080, help="port of the pages, on this machine only (default: 8080)")
    parser.add_argument("--timezone", help="time zone of the site, e.g. Asia/Kolkata (default: this machine's)")
    parser.add_argument("--pacs", required=True, metavar="AET@HOST:PORT", help="the PACS: gets results and may send images")
    parser.add_argument("--allow", action="append", default=[], metavar="AET@HOST", help="another system that may send images")
    parser.add_argument("--fhir", metavar="URL", help="FHIR R4 server for reports")
    parser.add_argument("--hl7", metavar="HOST:PORT", help="HL7 v2 receiver (MLLP) for results")


def run(options: argparse.Namespace) -> int:
    """Write the file; refuse to overwrite one."""
    home = Home(options.home)
    zone, said = (options.timezone, "") if options.timezone else machine_timezone()
    text = node_yaml(
        ae_title=options.ae_title,
        port=options.port,
        web_port=options.web_port,
        timezone=zone,
        pacs=parse_peer(options.pacs, port_needed=True),
        allowed=[parse_peer(peer, port_needed=False) for peer in options.allow],
        fhir=_url(options.fhir),
        hl7=_receiver(options.hl7),
    )
    try:
        parse_settings(text, thorough=False)
    except ConfigError as error:
        raise UsageError("these arguments make no usable node.yaml:\n" + str(error)) from None
    try:
        home.path.mkdir(mode=0o700, parents=True, exist_ok=True)  # patients' images will lie there
        with home.config.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{home.config} is there already and is left as it is; edit it, or name another folder") from None
    except OSError as error:
        raise UsageError(f"{home.config} cannot be written: {error.strerror}") from None
    if said:
        print(said)
    print(f"Wrote {home.config}.")
    print(f"The PACS must know this node: AE title {options.ae_title}, port {options.port}, this machine's address.")
    print("Results stay on the node (release: silent) until you change that in the file.")
    print(f"Next: dicom-node check --home {home.path}, then dicom-node serve --home {home.path}")
    return 0


def machine_timezone() -> tuple[str, str]:
    """Return this machine's time zone, and the sentence that says so."""
    candidates = [os.environ.get("TZ", "").removeprefix(":")]
    with contextlib.suppress(OSError, ValueError):  # not every system has the file
        candidates.append(Path("/etc/timezone").read_text(encoding="ascii").strip())
    candidates.append(str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2])
    known = zoneinfo.available_timezones()
    zone = next((name for name in candidates if name in known), "")
    if not zone:
        here = dt.datetime.now().astimezone().utcoffset() or dt.timedelta()
        minutes = int(here.total_seconds() // 60)
        zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    return zone, f"Time zone: {zone}, as this machine has it. If the site's is another, change site.timezone now."


def node_yaml(
    *,
    ae_title: str,
    port: int,
    web_port: int,
    timezone: str,
    pacs: Peer,
    allowed: list[Peer],
    fhir: str | None,
    hl7: tuple[str, int] | None,
) -> str:
    """Return the text of node.yaml."""
    senders = "".join(_SENDER.format(ae_title=_quoted(peer.ae_title), host=_quoted(peer.host)) for peer in (pacs, *allowed))
    names = ["pacs"]
    others = ""
    if fhir:
        names.append("fhir")
        others += _FHIR.format(url=_quoted(fhir))
    if hl7:
        names.append("hl7")
        others += _HL7.format(host=_quoted(hl7[0]), port=hl7[1])
    return _FILE.format(
        timezone=_quoted(timezone),
        ae_title=_quoted(ae_title),
        port=port,
        web_port=web_port,
        senders=senders,
        destinations=", ".join(names),
        pacs_title=_quoted(pacs.ae_title),
        pacs_host=_quoted(pacs.host),
        pacs_port=pacs.port,
        others=others,
    )


def _quoted(text: str) -> str:
    """Return a text as YAML always reads it back."""
    return json.dumps(text, ensure_ascii=False)


def _url(text: str | None) -> str | None:
    if text is None:
        return None
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise UsageError("--fhir takes a URL such as https://fhir.example.org/r4, without a name or password in it")
    return text


def _receiver(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, port = parse_address(text)
    if port is None:
        raise UsageError(f'--hl7 "{text}" names no port; write HOST:PORT, e.g. 10.1.2.3:2575')
    return host, port


_SENDER = """\
    - ae_title: {ae_title}
      host: {host}
"""

_FILE = """\
# Settings of this node. Research use only: results are not for diagnosis.
# After a change:  dicom-node check --home <this folder>   and start the node again.
# Every setting, with its default and meaning: docs/reference/settings.md
# Not in this file, each a few lines: encryption, asking the archive, HL7 in, DICOMweb, several machines, answers of
# radiologists (docs/how-to/answer-from-the-viewer.md): docs/how-to

site:
  # Results carry this zone where the images name none. A name (Europe/Berlin) or an offset (+05:30).
  timezone: {timezone}

reception:
  # The PACS needs these: AE title, port, and this machine's address.
  ae_titles: [{ae_title}]
  port: {port}
  # Who may send. Everybody else is rejected. If the PACS sends from several addresses, list each;
  # without "host" any address may use that AE title.
  peers:
{senders}
routing:
  # Studies never to analyse. Add your own phantoms and quality control.
  hold:
    - name: phantoms and quality control
      when:
        patient_id: ["PHANTOM*", "QA-*", "QC-*"]
    - name: phantoms by name
      when:
        patient_name: ["*PHANTOM*"]
  # Rules are read from above; of each pipeline the first that matches wins. A tag that is missing in the image is
  # "unknown": the image is then looked at, and refused with a reason if it is not a frontal chest radiograph.
  rules:
    - name: chest radiographs
      when:
        modality: [CR, DX]
        body_part: CHEST
      pipeline: cxr_tb
      policy: screening
      # When results leave the node:
      #   silent        never: analysed, kept, shown on the node's own page only. Start here.
      #   after_answer  once a person has answered on the node
      #   at_once       as soon as they are made
      release: silent
      destinations: [{destinations}]
      # Older studies (fetched priors, migrations) are received and kept, not analysed.
      max_study_age_hours: 48

destinations:
  pacs:
    kind: dicom_store
    ae_title: {pacs_title}
    host: {pacs_host}
    port: {pacs_port}
    calling_ae_title: {ae_title}
    # An overlay picture and a text report. Also possible, if PACS and viewers can show them: structured_report,
    # structured_report:ohif_text, structured_report:ohif_roi, lung_segmentation, saliency_segmentation, key_objects.
    outputs: [secondary_capture, text_report]
    # What makes a result count as delivered: answer (the PACS said success), query (found in an archive afterwards) or
    # commitment (the PACS takes responsibility for it). dicom-node check says whether the PACS offers commitment.
    proof: answer
    # "Not analysed, because ...": none, sr (as a report, never as a picture) or all.
    refusals: sr
    # The models that come with the node have no outside evidence, so nothing of theirs is sent until this says true;
    # every result then prints UNVALIDATED MODEL.
    allow_unvalidated: false
{others}
retention:
  # Received images are deleted this many days after their study was delivered, proven and left alone; their story stays.
  # Remove the line to keep them for ever. dicom-node retention --dry-run lists what would go.
  keep_days_after_delivery: 30

disk:
  # Below this much free space the node refuses images (0xA700, the sender tries again) rather than lose one.
  refuse_free_gb: 1

web:
  # The pages. Without users or oidc nobody can log in, no result can be answered on them, and they are for this machine only:
  # docs/how-to/answer-on-the-page.md
  host: 127.0.0.1
  port: {web_port}
"""

_FHIR = """\
  fhir:
    kind: fhir_rest
    base_url: {url}
    outputs: [diagnostic_report]
    allow_unvalidated: false
"""

_HL7 = """\
  hl7:
    kind: hl7_mllp
    host: {host}
    port: {port}
    outputs: [oru_message]
    allow_unvalidated: false
"""
