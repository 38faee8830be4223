"""Weights that ship with the package: folders of bundles, one per vintage, and nothing else.

They are opened through `eigenfolio.learned.shipped`; `eigenfolio pretrain` makes them.
"""
