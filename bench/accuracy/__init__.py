"""How far answers are from the truth: with good, loose and no bounds, beside the best fixed clip and beside R2T."""
