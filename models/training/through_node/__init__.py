"""What a bundle for chest CT reaches through the node: ``python -m models.training.through_node --bundle DIR``.

A recipe measures on volumes and slices that it drew and prepared itself. Here new patients are drawn as whole chests, written as
DICOM with what their header and laboratory say, and read by the pipeline as the node runs it: header gates, series, volume, lungs,
marks, clinical data. Who is refused is counted with the reason, and has no answer that could be measured.

drawn        a drawn patient as files, marks and laboratory values
figures      who was read, AUC, thresholds, what the same patients reach as the recipe prepares them
ct_ntm, ct_pima_ipn   whose patients are drawn, by bundle
"""
