"""What MLflow's own loader gives: `python -m tests.integration.pyfunc_process TEXTS MODEL …`."""

from __future__ import annotations

import json
import sys

import mlflow
import numpy as np
import pandas as pd


def main(texts, references):
    answers = []
    for reference in references:
        model = mlflow.pyfunc.load_model(reference)
        vectors = {
            "list": model.predict(texts),
            "text": model.predict(texts[0]),
            "column": model.predict(pd.Series(texts)),
            "table": model.predict(pd.DataFrame({"question": texts})),
        }
        replies = {
            "input table": model.predict(pd.DataFrame({"input": texts})),
            "request": model.predict({"input": texts}),
        }
        answers.append({name: np.asarray(found).tolist() for name, found in vectors.items()})
        answers[-1] |= replies
    sys.stdout.write(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
