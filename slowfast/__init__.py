"""Video classification with UniFormer: recipes, data, models, and an engine that trains and tests them."""

__version__ = "0.1.0"
