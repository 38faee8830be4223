"""Panels with a known truth. Sizes and a seed enter; a panel and the truth it was drawn from leave."""

from eigenfolio.data.synthetic.markets import SyntheticMarket, factor_market

__all__ = ["SyntheticMarket", "factor_market"]
