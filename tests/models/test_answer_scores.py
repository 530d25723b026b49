"""Judges that cannot be loaded are refused as models are."""

import json
from pathlib import Path

import pytest

from truenorth.errors import ModelError
from truenorth.models.answer_scores import AnswerScores


def test_a_judge_of_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["NewForSequenceClassification"]}))
    with pytest.raises(ModelError, match="cannot be read: Unrecognized model"):
        AnswerScores.load(str(tmp_path))


def test_an_adapter_of_a_model_without_classifier_is_no_judge(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    for folder in (base, adapter):
        folder.mkdir()
    (base / "config.json").write_text(json.dumps({"model_type": "granitemoehybrid"}))
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(base)})
    )
    with pytest.raises(ModelError, match="Unrecognized configuration class"):
        AnswerScores.load(str(adapter))
