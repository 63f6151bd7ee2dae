"""Fine-tuning on videos of one's own: what to train, on which clips and for how long follows from data and device."""
