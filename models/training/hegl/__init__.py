"""Making ``cxr_hegl``: attention that is trained on marks, in four schedules, and what it is worth."""
