"""Templates: sets of pictures of one person that are compared as wholes (IJB-A, IJB-B, IJB-C).

    templates.csv     template_id,subject_id,path[,x0,y0,x1,y1]     one row a picture of a template
    pairs.csv         template_a,template_b,same                    1 for the same person, 0 if not

IJB's own lists become these files by renaming columns (a box of IJB is x, y, width, height). A
picture may be in several templates. The one split is "test"; `subset` is the template. Pairs are
read by `jaxgen.data.verification_pairs.template_pairs`. Points may come from the option
`landmarks`, see `recognition_builder`. Pictures are turned upright by their EXIF tag, so boxes and
points belong to the upright picture.
"""

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data import text_files
from jaxgen.data.builders import face_labels, recognition_builder
from jaxgen.data.builders.recognition_builder import Picture

_BOX = ("x0", "y0", "x1", "y1")


class FaceTemplates(recognition_builder.RecognitionBuilder):
    """Pictures by template."""

    VERSION = tfds.core.Version("1.1.0")  # 1.0.0 stored pictures with an EXIF rotation sideways
    UPRIGHT = True
    LAYOUT = (
        "  templates.csv (template_id,subject_id,path[,x0,y0,x1,y1]), pairs.csv "
        "(template_a,template_b,same) and the pictures"
    )
    OPTIONS = {  # noqa: RUF012
        **recognition_builder.OPTIONS,
        "templates": "templates.csv",
        "pairs": "pairs.csv",
    }

    @classmethod
    def picture_files(cls, manual_dir, options):
        """The two lists and every picture that they name."""
        path = manual_dir / options["templates"]
        if not path.is_file():
            return []
        rows = face_labels.read_table(path, ("template_id", "subject_id", "path"))
        pairs = manual_dir / options["pairs"]
        found = {_picture(manual_dir, path, *row): row[0] for row in rows}
        for picture, line in found.items():
            if not picture.is_file():
                raise ValueError(f"{path}, line {line}: there is no picture {picture}")
        return [path, *([pairs] if pairs.is_file() else []), *found]

    def pictures(self):
        """One split, "test"."""
        config = self.builder_config
        path = config.manual_dir / config.options["templates"]
        found, subjects = {}, {}
        for line, row in face_labels.read_table(path, ("template_id", "subject_id", "path")):
            template, subject = row["template_id"], row["subject_id"]
            if subjects.setdefault(template, subject) != subject:
                raise ValueError(
                    f"{path}, line {line}: template {template!r} holds {subjects[template]!r} and "
                    f"{subject!r}; a template shows one person"
                )
            name = f"{template}/{row['path']}"
            if name in found:
                raise ValueError(f"{path}, line {line}: this picture is in the template already")
            found[name] = Picture(
                _picture(config.manual_dir, path, line, row),
                subject,
                name=name,
                box=_box(path, line, row),
                subset=template,
            )
        return {"test": list(found.values())}


def _picture(folder, path, line, row):
    try:
        return text_files.path_below(folder, row["path"])
    except ValueError as error:
        raise ValueError(f"{path}, line {line}: {error}") from None


def _box(path, line, row):
    values = [row.get(key) for key in _BOX]
    if not any(values):
        return None
    try:
        return np.array([text_files.number(value or "") for value in values])
    except ValueError:
        values = [text_files.quoted(value or "") for value in values]
        raise ValueError(f"{path}, line {line}: a box is four numbers, got {values}") from None
