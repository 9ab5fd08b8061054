"""The names that columns have in the files of users, by what the columns hold."""

from __future__ import annotations

import re


def fold(name: str) -> str:
    """Return the name in lower case, without blanks and punctuation."""
    return re.sub(r"[\W_]+", "", name.lower())


def _names(words: str) -> tuple[str, ...]:
    return tuple(words.split())


TEXT = _names(
    "text utterance sentence query content question message body document input comment review "
    "tweet phrase texts utterances sentences prompt instruction description request"
)
LABEL_OF_TEXT = _names(
    "label intent category class target topic tag labels labelname labeltext classname "
    "sentiment intents categories domain y"
)
FIRST_OF_TWO = _names(
    "anchor query question sentence1 sentencea sent1 text1 texta question1 premise s1 "
    "queries questions"
)
SECOND_OF_TWO = _names(
    "positive pos answer passage document doc context response sentence2 sentenceb sent2 text2 "
    "textb question2 hypothesis s2 positives answers passages documents paragraph reply "
    "positivepassage positivepassages"
)
NEGATIVES = _names("negative neg negatives hardnegative hardnegatives negativepassages")
LABEL_OF_PAIR = _names("label labels isduplicate duplicate relevant isrelevant")
MARK_OF_PAIR = _names(
    "target match ismatch matched gold goldlabel similar issimilar paraphrase isparaphrase "
    "correct iscorrect positivelabel ispositive binarylabel y"
)
"""Names of a pair's label where the values bear it out; else they may be anything."""

GRADE_OF_PAIR = _names(
    "grade relevance rel relevancelabel relevancegrade relevancelevel qrel judgement judgment"
)
SCORE = _names(
    "score similarity similarityscore relatedness relatednessscore goldscore sim simscore "
    "rating scores stsscore cosine"
)

SYMMETRIC = frozenset(_names("sentence1 sentencea sent1 text1 texta question1 premise s1"))
"""First texts whose partner is of the same kind, so that a number beside them is a similarity."""

OF_JUDGEMENTS = (
    frozenset(_names("queryid qid query topicid topic")),
    frozenset(_names("corpusid docid documentid did doc document pid passageid cid")),
    frozenset(_names("score relevance rel grade label judgement judgment qrel")),
)
"""Headers of the query, the document and the grade."""
