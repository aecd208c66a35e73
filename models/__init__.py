"""Everything that can be trained, and what came out of training."""

import os

# ONNX Runtime for Linux, from 1.29 on, tells its maker about every model that is loaded unless this stands in the environment
# before it is imported. A hospital's node tells nobody: not a model's name, not an error's text, not that it is there.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
