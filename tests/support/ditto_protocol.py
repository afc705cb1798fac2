"""What the Ditto Protocol asks of a message, from the specification of Eclipse Ditto 3.

The pages are "Protocol specification", "Protocol topic", "Things - Messages protocol specification" and the schemas of
envelope and response. The schemas themselves are applied by `benchmarks/validate_ditto.py`.
"""

import re

NAME = r"[^/\x00-\x1f\x7f]{1,256}"
COMMANDS = "create|modify|merge|retrieve|delete|migrate"
TOPIC = re.compile(
    rf"(?P<namespace>[A-Za-z]\w*(?:[.-]\w+)*)/(?P<name>{NAME})/things/"
    rf"(?:(?P<twin>twin)/commands/(?P<command>{COMMANDS})|(?P<live>live)/messages/(?P<subject>[A-Za-z0-9._~/-]+))"
)
POINTER = re.compile(r"/|(/[^/]+)+")
KEYS = {"topic", "headers", "path", "value", "fields", "status"}
TYPES = {
    "content-type": str, "correlation-id": str, "condition": str, "reply-to": str, "timeout": str, "thing-id": str,
    "feature-id": str, "subject": str, "direction": str, "response-required": bool, "requested-acks": list,
}  # fmt: skip


def faults(tree):
    """Returns what is wrong with a message that goes to Ditto; empty when nothing is."""
    found = [f"unknown key {key}" for key in tree.keys() - KEYS]
    found += [f"no {key}" for key in ("topic", "headers", "path") if key not in tree]
    if found:
        return found
    topic = TOPIC.fullmatch(tree["topic"])
    if not topic:
        return [f"topic {tree['topic']!r}"]
    headers, path = tree["headers"], tree["path"]
    found += [f"header {key}" for key, value in headers.items() if not isinstance(value, TYPES.get(key, ()))]
    if not headers.get("correlation-id"):
        found.append("no correlation-id")
    if not POINTER.fullmatch(path):
        found.append(f"path {path!r}")
    return found + (command_faults(tree, topic["command"]) if topic["twin"] else answer_faults(tree, topic))


def command_faults(tree, command):
    headers, found = tree["headers"], []
    if command == "merge" and (headers.get("content-type") != "application/merge-patch+json" or "value" not in tree):
        found.append("a merge needs its content type and a value")
    if command == "retrieve" and "value" in tree:
        found.append("a question has no value")
    if headers.get("response-required") and not headers.get("reply-to"):
        found.append("a response has nowhere to go")
    return found


def answer_faults(tree, topic):
    headers, found = tree["headers"], []
    box = re.fullmatch(r"(?:/features/[^/]+)?/outbox/messages/(.+)", tree["path"])
    if not box or box[1] != topic["subject"] or headers.get("subject") != topic["subject"]:
        found.append("path, topic and header name different subjects")
    if headers.get("thing-id") != f"{topic['namespace']}:{topic['name']}":
        found.append("thing-id")
    if headers.get("direction") != "FROM" or type(tree.get("status")) is not int:
        found.append("an answer comes from the thing and has a status")
    return found
