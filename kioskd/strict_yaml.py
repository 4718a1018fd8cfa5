"""How the files that people write are read: YAML, and stricter."""

from typing import Any

import yaml


class StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, and a text that could name no file."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node, once each key."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(problem=f"{key} is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        """The text of a node, without NUL: the system's calls would take what stands before it, or fail."""
        text = str(super().construct_scalar(node))
        if "\0" in text:
            raise yaml.MarkedYAMLError(problem="a text has a NUL character", problem_mark=node.start_mark)
        return text
