"""Answers that are messages: HL7 and FHIR."""
