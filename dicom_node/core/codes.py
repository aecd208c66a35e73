"""Coded concepts, each with its source.

Checked against the tables that pydicom ships (DCM, SCT subset, UCUM, LN) unless the comment says otherwise.
``99PACSAI`` is this product's own scheme; every object that uses it declares it in Coding Scheme Identification Sequence.
"""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """A coded concept: code value, coding scheme designator, code meaning (PS3.3, 8)."""

    value: str
    scheme: str
    meaning: str


PRIVATE_SCHEME = "99PACSAI"
PRIVATE_SCHEME_NAME = "Private codes of the inference node beside the PACS"


def private(value: str, meaning: str) -> Code:
    """Return a code of this product's own scheme."""
    return Code(value, PRIVATE_SCHEME, meaning)


# Findings. TB and pneumonia are SNOMED CT disorders outside DICOM's own subset; value and meaning were compared with
# several public SNOMED CT extracts (concept 56717001 "Tuberculosis (disorder)", 233604007 "Pneumonia (disorder)").
TUBERCULOSIS = Code("56717001", "SCT", "Tuberculosis")
PNEUMONIA = Code("233604007", "SCT", "Pneumonia")
NORMAL = Code("17621005", "SCT", "Normal")
ABNORMAL = Code("263654008", "SCT", "Abnormal")
UNDETERMINED = Code("371934000", "SCT", "Normality Undetermined")
LUNG = Code("39607008", "SCT", "Lung")
NTM_DISEASE = private("NTM-DISEASE", "Disease by nontuberculous mycobacteria")
#: Findings that say how likely the patient has a disease, not what an image shows: FHIR has a RiskAssessment for these.
LIKELIHOODS_OF_DISEASE = (NTM_DISEASE,)
RIGHT = Code("24028007", "SCT", "Right")
LEFT = Code("7771000", "SCT", "Left")
ANATOMICAL_STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")
SPATIAL_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
AREA = Code("42798000", "SCT", "Area")
VOLUME = Code("118565006", "SCT", "Volume")

PROBABILITY = Code("122157", "DCM", "Probability")
NORMALITY = Code("121402", "DCM", "Normality")
COMMENT = Code("121106", "DCM", "Comment")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
VISUAL_EXPLANATION = Code("130401", "DCM", "Visual explanation")
GRAD_CAM = Code("130403", "DCM", "Gradient-weighted class activation")
SALIENCY = Code("130404", "DCM", "Saliency")
COMPUTER_AIDED_DIAGNOSIS = Code("110003", "DCM", "Computer Aided Diagnosis")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
OF_INTEREST = Code("113000", "DCM", "Of Interest")
# Titles of rejection notes (PS3.16, CID 7010), as IHE's Imaging Object Change Management uses them.
REJECTED_FOR_QUALITY = Code("113001", "DCM", "Rejected for Quality Reasons")
REJECTED_FOR_SAFETY = Code("113037", "DCM", "Rejected for Patient Safety Reasons")
INCORRECT_WORKLIST_ENTRY = Code("113038", "DCM", "Incorrect Modality Worklist Entry")
RETENTION_EXPIRED = Code("113039", "DCM", "Data Retention Policy Expired")
TITLE_MODIFIER = Code("113011", "DCM", "Document Title Modifier")
OTHER_FAILURE = Code("111220", "DCM", "Other failure")
MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
DIAGNOSTIC_IMAGING_REPORT = Code("18748-4", "LN", "Diagnostic Imaging Report")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
UNITY = Code("1", "UCUM", "no units")
SQUARE_MILLIMETER = Code("mm2", "UCUM", "square millimeter")
CUBIC_CENTIMETER = Code("cm3", "UCUM", "cubic centimeter")

# "Not analysed, because": the analysis failed (CID 6047) and why (PS3.16 CID 9300, CID 9303 or our own).
ANALYSIS_NOT_PERFORMED = Code("111245", "DCM", "No algorithms succeeded; without findings")
OBJECTS_INCORRECTLY_FORMATTED = Code("110521", "DCM", "Objects incorrectly formatted")
OBJECT_TYPES_NOT_SUPPORTED = Code("110522", "DCM", "Object Types not supported")
OBJECT_SET_INCOMPLETE = Code("110523", "DCM", "Object Set incomplete")
INSUFFICIENT_QUALITY = Code("110531", "DCM", "Insufficient quality for interpretation")

# Our own.
THRESHOLD = private("THRESHOLD", "Operating threshold")
THRESHOLD_LOW = private("THRESHOLD-LOW", "Lower threshold of the gray zone")
THRESHOLD_HIGH = private("THRESHOLD-HIGH", "Upper threshold of the gray zone")
DECISION = private("DECISION", "Policy decision")
DECISION_POSITIVE = private("POS", "Above operating threshold")
DECISION_NEGATIVE = private("NEG", "Below operating threshold")
DECISION_REFER = private("REFER", "Needs human review")
DECISION_NOT_ASSESSED = private("NOT-ASSESSED", "Not assessed by this model")
ASSESSMENT = private("ASSESSMENT", "Assessment of the AI result")
ASSESSMENT_ACCEPT = private("ACCEPT", "AI result accepted")
ASSESSMENT_MODIFY = private("MODIFY", "AI result amended")
ASSESSMENT_REJECT = private("REJECT", "AI result rejected")
POLICY = private("POLICY", "Operating policy")
GUARANTEE = private("GUARANTEE", "Statistical guarantee of the policy")
QUALITY_FLAG = private("QUALITY-FLAG", "Quality or input flag")
REFUSAL_REASON = private("REFUSAL", "Reason for not analysing")
MAP_STABILITY = private("MAP-STABILITY", "Stability of the saliency map")
CLINICAL_CONTRIBUTION = private("CLINICAL-CONTRIB", "Contribution of the clinical data, in log-odds")
AI_RESULT = private("AI-CXR-RESULT", "AI result, chest radiograph (research use only)")
AI_CT_RESULT = private("AI-CT-RESULT", "AI result, chest CT (research use only)")
#: A result as a whole, whatever it is about: what messages that come back name.
RESULT_CODES = (AI_RESULT, AI_CT_RESULT)
SLICE_CHOICE = private("SLICE-CHOICE", "How the slice was chosen")
SLICE_MARKED = private("SLICE-MARKED", "Marked by a person")
SLICE_AUTOMATIC = private("SLICE-AUTO", "Chosen automatically")

# Procedure reported, outside DICOM's SNOMED subset; compared with several public extracts ("Plain chest X-ray (procedure)",
# "Computed tomography of chest (procedure)").
CHEST_RADIOGRAPHY = Code("399208008", "SCT", "Plain chest X-ray")
CHEST_CT = Code("169069000", "SCT", "CT of chest")
IMAGING = Code("363679005", "SCT", "Imaging")  # of what turned out to be no chest
DISCONTINUED = Code("110513", "DCM", "Discontinued for unspecified reason")

# Document level of the structured report.
CAD_SUMMARY = Code("111017", "DCM", "CAD Processing and Findings Summary")  # takes CID 6047, e.g. (111245, DCM)
MEASUREMENT_METHOD = Code("370129005", "SCT", "Measurement Method")
IMAGE_NOT_READ = private("NOT-READ", "Image not read, because")
MODEL_EVIDENCE = private("EVIDENCE", "Evidence level of the model")
PIXELS = Code("{pixels}", "UCUM", "Pixels")

# What a reader answered to a result of ours, as the report about it says it (beside ASSESSMENT above): no profile is claimed.
AI_ASSESSMENT = private("AI-ASSESSMENT", "AI result assessment (research use only)")
ASSESSED_RESULT = private("ASSESSED", "AI result that was assessed")
ANSWER_TAKEN_BACK = private("NO-ANSWER", "No answer stands: an earlier one was taken back")
ANSWERED_BY = private("READER", "Who answered")
READER_RADIOLOGIST = private("RADIOLOGIST", "Authenticated radiologist")
READER_UNKNOWN = private("UNKNOWN", "Reader not known, or not authenticated as a radiologist")
ANSWER_LABEL = private("LABEL-AFTER", "Finding as the reader has it")
ANSWER_REASON = private("ANSWER-REASON", "Reason of the answer")
ANSWER_TIME = private("ANSWER-TIME", "Date and time of the answer")
ANSWER_NUMBER = private("LOG-ROW", "Number of the answer in the log of the node")
READERS_DIFFER = private("CONFLICT", "Readers differ")
# Reasons (core.feedback.REASONS).
REASON_QUALITY = private("R-QUALITY", "Image quality")
REASON_REGION = private("R-REGION", "Wrong region")
REASON_ARTEFACT = private("R-ARTEFACT", "Artefact or marker")
REASON_TREATMENT = private("R-TREATMENT", "Post-treatment change")
REASON_OTHER_FINDING = private("R-OTHER-FINDING", "Other finding")
REASON_KNOWN = private("R-KNOWN", "Finding known already")
REASON_LATERALITY = private("R-LATERALITY", "Laterality")
REASON_WRONG_STUDY = private("R-WRONG-STUDY", "Wrong patient or study")
REASON_OTHER = private("R-OTHER", "Other reason")
# How a reader has a finding.
PRESENT = Code("121053", "DCM", "Present")
ABSENT = Code("121054", "DCM", "Absent")
INDETERMINATE = Code("82334004", "SCT", "Indeterminate")
