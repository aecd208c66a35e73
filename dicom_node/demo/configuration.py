"""The demo's node.yaml: the same file that IT would write, with everything switched on."""

from __future__ import annotations

from pathlib import Path

from dicom_node.demo.peers import LOOPBACK, PACS_AE

NODE_AE = "AINODE"
ACCEPT_AE = "AINODE_ACCEPT"
WORKSTATION_AE = "DEMOWS"

_TEMPLATE = """\
# Written by `dicom-node demo`: everything on loopback, every output switched on.
site:
  name: Demo hospital
  timezone: UTC

reception:
  host: {host}
  port: {dicom_port}
  ae_titles: [{node_ae}]
  peers:
    - {{ae_title: {pacs_ae}, host: {host}}}

studies:
  quiet_seconds: 1            # the defaults are 10 and, of CT, 60: real modalities pause between images
  quiet_seconds_ct: 1

routing:
  rules:
{rule}
      release: at_once          # the default is silent
      max_study_age_hours: 1000000   # the sample study is old; the default of 48 would hold it
      max_flag_age_hours: 1000000    # likewise: the default of 24 would send it without a flag
      destinations: [pacs, fhir, ris]

destinations:
  pacs:
    kind: dicom_store
    ae_title: {pacs_ae}
    host: {host}
    port: {pacs_port}
    calling_ae_title: {node_ae}
    outputs: [secondary_capture, text_report, structured_report, lung_segmentation, saliency_segmentation, key_objects]
    allow_unvalidated: true     # the shipped bundles are demonstrations, and every object says so
  fhir:
    kind: fhir_rest
    base_url: http://{host}:{fhir_port}
    outputs: [diagnostic_report]
    allow_unvalidated: true
  ris:
    kind: hl7_mllp
    host: {host}
    port: {hl7_port}
    outputs: [oru_message]
    allow_unvalidated: true

readers:
  - {{name: Demo^Radiologist, role: radiologist, ae_titles: [{workstation_ae}]}}

feedback:
  answer_ae:
    accept: {accept_ae}
    callers:
      - {{ae_title: {workstation_ae}, host: {host}}}
    settle_seconds: 1
    two_answers_seconds: 1      # the default is 60: so long it takes to find out a machine that accepts and rejects
    early_seconds: 0            # the default is 3: nobody reads faster

web:
  host: {host}
  port: {web_port}
"""


RADIOGRAPHS = """\
    - name: chest radiographs
      when: {modality: [CR, DX]}
      pipeline: cxr_tb
      policy: screening"""

CHEST_CT = """\
    - name: chest CT
      when: {modality: [CT]}
      pipeline: ct_pima_ipn
      policy: published"""

#: The shipped CT model learned from drawn chests: the node runs such a model only where this is written.
_SYNTHETIC = """
inference:
  allow_synthetic: true       # the model was trained on artificial images, and every object says so
"""


def write_configuration(
    home: Path, *, dicom_port: int, web_port: int, pacs_port: int, fhir_port: int, hl7_port: int, rule: str = RADIOGRAPHS
) -> None:
    """Write ``home/node.yaml``. ``rule``: which studies go to which pipeline."""
    home.mkdir(parents=True, exist_ok=True)
    text = _TEMPLATE.format(
        rule=rule,
        host=LOOPBACK,
        node_ae=NODE_AE,
        accept_ae=ACCEPT_AE,
        workstation_ae=WORKSTATION_AE,
        pacs_ae=PACS_AE,
        dicom_port=dicom_port,
        web_port=web_port,
        pacs_port=pacs_port,
        fhir_port=fhir_port,
        hl7_port=hl7_port,
    )
    (home / "node.yaml").write_text(text + (_SYNTHETIC if rule == CHEST_CT else ""), encoding="utf-8")
