"""OpenAssistant's trees of messages: every turn of a user whose replies are ranked is a prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pools.flaws import RowFlaw, shown
from pools.formats.draft import Answer, Draft, Fields, Turn
from pools.formats.values import ROLES, number_of, objects, score_of, unspelt

_MOST_TURNS = 200  # of a path through a tree; none that was published comes near


def from_tree(row: Fields) -> Sequence[Draft]:
    """The prompts of one tree, with the replies that were ranked; rank 0 scores 1, the last 0."""
    root = unspelt(row["prompt"])
    if not isinstance(root, dict):
        raise RowFlaw("wrong_shape", "prompt is no message of a tree")
    if row.get("lost"):
        raise RowFlaw(
            "wrong_shape", f"{row['lost']} messages of the tree do not stand next to what they answer"
        )
    drafts = list(_prompts(root, []))
    if not drafts:
        raise RowFlaw("missing_score", "no message of the tree has replies that were ranked")
    return drafts


def is_tree(row: Fields) -> bool:
    """Whether the prompt is the root of a tree."""
    root = unspelt(row["prompt"])
    return isinstance(root, dict) and "replies" in root


def _prompts(message: Fields, before: list[Turn]) -> Iterator[Draft]:
    if len(before) >= _MOST_TURNS:
        raise RowFlaw("wrong_shape", f"a path of the tree has over {_MOST_TURNS} messages")
    role = ROLES.get(str(message.get("role")), "")
    path = [*before, {"role": role, "content": message.get("text")}]
    replies = [
        each
        for each in objects(message.get("replies"), "replies")
        if each and score_of(each.get("deleted")) != 1.0
    ]
    ranked = [each for each in replies if each.get("rank") is not None]
    if role == "user" and len(ranked) > 1:
        last = max(len(ranked) - 1, 1)
        ordered = sorted(ranked, key=_rank)
        answers = [Answer(each.get("text"), 1.0 - rank / last) for rank, each in enumerate(ordered)]
        yield Draft(path, answers, message.get("lang"))
    for reply in replies:
        yield from _prompts(reply, path)


def _rank(message: Fields) -> float:
    rank = number_of(message["rank"])
    if not isinstance(rank, int | float) or rank != rank:
        raise RowFlaw("bad_score", f"rank is {shown(message['rank'])}: a number was expected")
    return float(rank)


def is_message(row: Fields) -> bool:
    """Whether a row is one message of a tree, as in OpenAssistant's flat files."""
    return {
        "message_id",
        "parent_id",
        "message_tree_id",
        "text",
        "role",
    } <= row.keys() and row.get("prompt") is None


def tree_of(messages: Sequence[Fields]) -> dict[str, object]:
    """The messages of one tree, a row each, as a row with the tree under its first message.

    A message whose parent is not among them stands beside that one, and counts as `lost` there.
    """
    nodes = {str(message.get("message_id")): {**message, "replies": []} for message in messages}
    roots = []
    for name, node in nodes.items():
        parent = str(node.get("parent_id"))
        if parent in nodes and parent != name:
            nodes[parent]["replies"].append(node)
        else:
            roots.append(node)
    lost = len(messages) - sum(1 for root in roots[:1] if not root.get("parent_id") for _ in _walk(root))
    return {
        "message_tree_id": messages[0].get("message_tree_id"),
        "prompt": roots[0] if roots else {},
        "lost": lost,
    }


def _walk(message: Fields) -> Iterator[Fields]:
    waiting = [message]
    while waiting:
        waiting += (last := waiting.pop())["replies"]
        yield last
