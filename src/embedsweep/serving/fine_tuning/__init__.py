"""Files and fine-tuning jobs as the OpenAI API has them, and the training behind them."""
