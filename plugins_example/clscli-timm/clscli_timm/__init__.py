"""timm's models, optimizers and losses as components of clscli.

Reading order: `families.py` (the names, which import nothing), `backbone.py`, `weights.py`, `optimizers.py`,
`losses.py`.
"""
