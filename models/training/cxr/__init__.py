"""Making ``cxr_tb``: its training set, candidates, remedies, the rule that chooses, its figures, its bundle's texts."""
