"""Patient, device and imaging study as FHIR R4: whom and what a report speaks of."""

from __future__ import annotations

from dicom_node.core.findings import BundleRef
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.product import DISCLAIMER, PRODUCT_NAME
from dicom_node.core.study import HeaderFacts
from dicom_node.results.context import ResultContext
from dicom_node.results.fhir_elements import Json, full_url, moment, uid_identifier
from dicom_node.results.header import device_uid
from dicom_node.results.message_facts import study_moment
from dicom_node.results.message_settings import FhirSettings
from dicom_node.version import VERSION

_GENDERS = {"M": "male", "F": "female", "O": "other"}
_REPRESENTATIONS = ("ABC", "IDE", "SYL")  # PS3.5, 6.2.1: alphabetic, ideographic, phonetic
_REPRESENTATION_URL = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"


def patient_identifier(facts: HeaderFacts, settings: FhirSettings) -> Json | None:
    """Return the Patient ID with its system and issuer; ``None`` when the image names none."""
    value = facts.patient_id.reveal()
    if not value:
        return None
    made: Json = {}
    if settings.patient_system:
        made["system"] = settings.patient_system
    made["value"] = value
    if facts.issuer_of_patient_id.reveal():
        made["assigner"] = {"display": facts.issuer_of_patient_id.reveal()}
    return made


def patient(facts: HeaderFacts, settings: FhirSettings) -> Json | None:
    """Return a Patient with what the image says of the person; ``None`` without a Patient ID."""
    identifier = patient_identifier(facts, settings)
    if identifier is None:
        return None
    made: Json = {"resourceType": "Patient", "identifier": [identifier]}
    names = _names(facts.patient_name.reveal())
    if names:
        made["name"] = names
    if facts.patient_sex in _GENDERS:
        made["gender"] = _GENDERS[facts.patient_sex]
    born = facts.birth_date.reveal()
    if len(born) == 8 and born.isdigit():
        made["birthDate"] = f"{born[:4]}-{born[4:6]}-{born[6:]}"
    return made


def _names(person_name: str) -> list[Json]:
    names = []
    for group, representation in zip(person_name.split("="), _REPRESENTATIONS, strict=False):
        family, given, middle, prefix, suffix = (group.split("^") + [""] * 5)[:5]
        parts = {
            "family": family,
            "given": [part for part in (given, middle) if part],
            "prefix": [prefix] if prefix else [],
            "suffix": [suffix] if suffix else [],
        }
        name: Json = {key: value for key, value in parts.items() if value}
        if name:
            names.append({"extension": [{"url": _REPRESENTATION_URL, "valueCode": representation}], **name})
    return names


def node_device(context: ResultContext) -> Json:
    """Return the node itself as a Device."""
    uid = derived_uid("device", PRODUCT_NAME, context.settings.device_serial_number, VERSION)
    return {
        "resourceType": "Device",
        "identifier": [uid_identifier(uid)],
        "status": "active",
        "manufacturer": context.settings.manufacturer,
        "deviceName": [{"name": PRODUCT_NAME, "type": "model-name"}],
        "modelNumber": PRODUCT_NAME,
        "serialNumber": context.settings.device_serial_number,
        "version": [{"value": VERSION}],
        "note": [{"text": DISCLAIMER}],
    }


def bundle_device(context: ResultContext, bundle: BundleRef, parent: str) -> Json:
    """Return a model as a Device. Other weights are another Device: its UID changes with the bundle's hash (IHE AIR 6.5.3.1)."""
    notes = [DISCLAIMER, f"Evidence: {bundle.evidence}."]
    if bundle.synthetic:
        notes.append("Trained on artificial images.")
    if bundle.twin:
        notes.append("Reduced-width stand-in for the full network.")
    return {
        "resourceType": "Device",
        "identifier": [uid_identifier(device_uid(bundle))],
        "status": "active",
        "manufacturer": context.settings.manufacturer,
        "deviceName": [{"name": bundle.name, "type": "model-name"}],
        "modelNumber": bundle.name,
        "version": [
            {"type": {"text": "Model version"}, "value": bundle.version},
            {"type": {"text": "SHA-256 of the bundle"}, "value": bundle.sha256},
        ],
        "parent": {"reference": parent},
        "note": [{"text": note} for note in notes],
    }


def imaging_study(context: ResultContext, facts: HeaderFacts, subject: Json) -> Json:
    """Return the study as far as the node holds it, for servers that do not know it from the PACS.

    Of a CT study only the slices that the model read are listed one by one: a thousand others would say nothing.
    """
    read = {one.sop_instance_uid for one in context.findings.slices}
    series = []
    for group in sorted(context.study.series, key=lambda one: one.series_instance_uid):  # not in the order of arrival
        item: Json = {"uid": group.series_instance_uid}
        number = group.instances[0].facts.series_number
        if number.isdigit():
            item["number"] = int(number)
        item["modality"] = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": group.modality or "OT"}
        item["numberOfInstances"] = len(group.instances)
        named = [i for i in group.instances if not context.volumetric or i.sop_instance_uid in read]
        if named:
            item["instance"] = [
                {"uid": i.sop_instance_uid, "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{i.sop_class_uid}"}}
                for i in sorted(named, key=lambda one: one.sop_instance_uid)
            ]
        series.append(item)
    made: Json = {
        "resourceType": "ImagingStudy",
        "identifier": [uid_identifier(context.study.study_instance_uid)],
        "status": "available",
        "subject": subject,
    }
    started = study_moment(facts, context.zone)
    if started is not None:
        made["started"] = moment(started)
    made["numberOfSeries"] = len(series)
    made["numberOfInstances"] = len(context.study.instances)
    made["series"] = series
    return made


def device_url(context: ResultContext, name: str) -> str:
    """Return the entry name of a Device within the transaction."""
    return full_url(context.run.run_key, "device", name)
