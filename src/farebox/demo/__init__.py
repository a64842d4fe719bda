"""`farebox demo`: everything on one machine, driven by the official client, every charge compared with the card."""
