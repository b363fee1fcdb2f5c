"""What a model costs, and how it trains: counts, figures, fair timing."""
