"""The main job end to end on loopback: a PACS, the node, a FHIR server and an HL7 receiver, all started and stopped here."""
