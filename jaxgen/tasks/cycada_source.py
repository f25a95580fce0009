"""What decides which images a CyCADA source has, in what order: the facts of a translation.

Translated images lie in a folder by position and take their labels from the source. So they are
of use only while the source is what it was: another file in it moves the positions of all others.
"""

import hashlib
import json
from typing import Any

from jaxgen.data.builders import registry


def source_facts(config) -> dict:
    """The keys of a config and the files that a source's splits hang on, as JSON has them.

    Raises:
        ValueError: the source's files are not there.
    """
    section = config.source.to_dict()
    facts = {key: section[key] for key in ("name", "train_split", "validation_fraction", "options")}
    facts |= {key: config.data[key] for key in ("task", "size", "channels")}
    facts["files"] = _digest(open_builder(config, "source"), section["name"])
    return json.loads(json.dumps(facts, default=str))


def open_builder(config, domain: str) -> Any:
    """The builder of a domain's set, found but not prepared.

    Raises:
        ValueError: an unknown name or option, or missing files.
    """
    section, sets = config[domain].to_dict(), registry.CLASSES
    if config.data.task == "segmentation":
        from jaxgen.data import label_maps

        sets = label_maps.SCENES
    place = dict(manual_dir=section["manual_dir"], data_dir=config.data.data_dir)
    return registry.find(section["name"], sets=sets, options=section["options"], **place).builder


def _digest(builder, name) -> str:
    """Of the files that a set is made from: listed, not read, so that large sets take no time.

    Not of their times, as in the builder's own digest: a copy of the files is the same source.
    """
    from jaxgen.data.builders.manual import ManualBuilder

    facts: list = [builder.name, str(builder.version)]
    if isinstance(builder, ManualBuilder):
        root, options = builder.builder_config.manual_dir, builder.builder_config.options
        for path in sorted(builder.files(root, options)):
            inside = path.relative_to(root) if path.is_relative_to(root) else path.name
            facts.append((str(inside), path.stat().st_size))
    else:
        facts.append(builder.info.full_name)  # with its variant
    if name == "prepared":  # elsewhere, so that its name says little
        facts.append({part: split.shard_lengths for part, split in builder.info.splits.items()})
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
