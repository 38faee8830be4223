"""Files, folders and frames of prices enter; checked, cleaned and archived panels leave, with their calendar,
universe and splits. Nothing here knows a model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eigenfolio.lazy import names_on_demand

if TYPE_CHECKING:
    from eigenfolio.data.archive import archive_panel, load_archive, read_manifest
    from eigenfolio.data.bars import dollar_bars, tick_bars, time_bars, volume_bars
    from eigenfolio.data.calendar import (
        CoverageRule,
        Decision,
        Membership,
        eligible_assets,
        plan_decisions,
        universe_calendar,
    )
    from eigenfolio.data.checks import check_panel
    from eigenfolio.data.cleaning import clean_panel, prepare_panel
    from eigenfolio.data.findings import CleaningReport, DataReport, Finding
    from eigenfolio.data.order_books import OrderBook, read_lobster, read_order_book
    from eigenfolio.data.readers import Tables, guess_kind, read_panel, read_tables
    from eigenfolio.data.splits import (
        Fold,
        Seal,
        purge_overlaps,
        regime_coverage,
        rolling_folds,
        seal,
        time_split,
    )
    from eigenfolio.data.trading_days import TradingDaySplit

__all__ = [
    "CleaningReport",
    "CoverageRule",
    "DataReport",
    "Decision",
    "Finding",
    "Fold",
    "Membership",
    "OrderBook",
    "Seal",
    "Tables",
    "TradingDaySplit",
    "archive_panel",
    "check_panel",
    "clean_panel",
    "dollar_bars",
    "eligible_assets",
    "guess_kind",
    "load_archive",
    "plan_decisions",
    "prepare_panel",
    "purge_overlaps",
    "read_lobster",
    "read_manifest",
    "read_order_book",
    "read_panel",
    "read_tables",
    "regime_coverage",
    "rolling_folds",
    "seal",
    "tick_bars",
    "time_bars",
    "time_split",
    "universe_calendar",
    "volume_bars",
]

__getattr__, __dir__ = names_on_demand(
    __name__,
    {
        ".archive": ("archive_panel", "load_archive", "read_manifest"),
        ".bars": ("dollar_bars", "tick_bars", "time_bars", "volume_bars"),
        ".calendar": (
            "CoverageRule",
            "Decision",
            "Membership",
            "eligible_assets",
            "plan_decisions",
            "universe_calendar",
        ),
        ".checks": ("check_panel",),
        ".cleaning": ("clean_panel", "prepare_panel"),
        ".findings": ("CleaningReport", "DataReport", "Finding"),
        ".order_books": ("OrderBook", "read_lobster", "read_order_book"),
        ".readers": ("Tables", "guess_kind", "read_panel", "read_tables"),
        ".splits": ("Fold", "Seal", "purge_overlaps", "regime_coverage", "rolling_folds", "seal", "time_split"),
        ".trading_days": ("TradingDaySplit",),
    },
)
