"""What the hospital's messages (HL7 v2 over MLLP) tell of patients, orders, reports and laboratory results."""
