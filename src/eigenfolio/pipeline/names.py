"""The names by which a reader sees the models that every comparison turns on."""

from __future__ import annotations

__all__ = ["CHAMPION", "CLOSED_FORM_START", "LEARNED", "SHIPPED"]

CHAMPION = "QIS devolatilised + EWMA(63)"
"""The fixed, unlearned estimator to beat."""

CLOSED_FORM_START = "Ledoit-Wolf identity"
"""The closed form that the dense network starts at."""

LEARNED = "Neural shrinkage (dense)"

SHIPPED = "Neural shrinkage (spectral)"
"""The estimator with the weights that ship: at each decision the newest vintage that has seen nothing after it."""
