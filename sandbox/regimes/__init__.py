"""The regimes: how a question of each mode is planned, run, kept and answered. The door knows nothing of any.

`noisy` is mode `dp`, `exact` is mode `aggregate`, `opened` is mode `open`.
"""
