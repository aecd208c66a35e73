"""``dicom-node bundle evaluate``: what a classifier bundle is worth on anyone's images, read as the node itself reads them.

index     the list of images, its missing columns and broken rows
reading   every image as a DICOM radiograph through the pipeline
figures   AUC beside the thumbnail's, thresholds in patients, calibration, refusals
plots     ROC, reliability, confusion as SVG
overlays  the worst and two right ones, as pictures
report    the figures as text
command   all of it in order

It works from a plain installation: neither torch nor scikit-learn is imported.
"""
