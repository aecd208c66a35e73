"""How the networks are made and judged. What all of them share lies here; what one network needs has a room of its own.

statistics       AUC, intervals, tests: one implementation
evaluate_bundle  ``dicom-node bundle evaluate``: a bundle on anyone's images
cxr, hegl        chest radiographs: the classifier that ships, attention trained on marks
gates            what a picture must be to be read at all
slices, hitl     chest CT: nodules on marked slices; disease by NTM, with physicians in the loop
through_node     what a chest CT bundle reaches when the node itself reads drawn scans
"""
