"""What the notebooks use and nothing else: figures, records and the experiments behind them. No public interface."""
