"""Gates that see pixels: what they are fitted on, how, what they make of real files (``python -m models.training.gates``)."""
