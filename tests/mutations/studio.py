"""Breakages of the studio: who is let in, what is read, what is drawn."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
    *breakages(
        "studio/safety.py",
        "studio/test_safety.py",
        (
            "any token",
            "return secrets.compare_digest(given.encode(), self.studio.token.encode())",
            "return True",
        ),
        ("any name of this machine", "and name not in self.studio.hosts", "and False"),
        ("any origin", "parts.netloc == host", "parts.netloc != ''"),
        ("no origin", "is None:\n        return False\n", "is None:\n        return True\n"),
        ("sockets like pages", "(changes or origin is not None) and not", "origin is None and not"),
        ("a cookie for scripts", "httponly=True", "httponly=False"),
        ("the token stays there", 'fields.pop("token", [""])', 'fields.get("token", [""])'),
    ),
    *breakages(
        "studio/studio.py",
        "studio/test_safety.py",
        ("links out of the folder", "(self.folder / name).resolve()", "self.folder / name"),
        ("the folder itself", "path != self.folder and path", "path"),
    ),
    *breakages(
        "studio/records.py",
        "studio/test_run.py",
        ("a rollback is not seen", "about.st_ino != self.inode or about.st_size", "about.st_size"),
        ("half a record", 'content.rfind(b"\\n") + 1', "len(content)"),
        ("a record is read again", "self.place += whole", "pass"),
    ),
    *breakages(
        "studio/looking.py",
        "studio/test_run.py",
        ("every part begins anew", "        x = chains.x\n", "        pass\n"),
        (
            "a landscape on its side",
            "torch.cartesian_prod(up, across).flip(1)",
            "torch.cartesian_prod(up, across)",
        ),
        (
            "z instead of x",
            "yield model.original(x), words, done / steps\n\n",
            "yield x, words, done / steps\n\n",
        ),
        ("another mask", "height * width) > 0", "height * width) < 1"),
    ),
    *breakages(
        "studio/frames.py",
        "studio/test_run.py",
        ("arrays where they end", "bytes(-len(content) % 4)", "bytes()"),
    ),
    *breakages(
        "studio/processes.py",
        "studio/test_runs.py",
        ("data from anywhere", "any(found[name].is_relative_to(one) for one in allowed)", "True"),
        (
            "fields that nobody checks",
            "config = resolve(recipe, {}, self.read(words))",
            "config = RECIPES[recipe]",
        ),
    ),
    *breakages(
        "studio/comparison.py",
        "studio/test_comparison.py",
        ("runs from anywhere", "at.resolve().is_relative_to(folder)", "True"),
        ("code that runs name", "not kinds & set(OWN)", "True"),
    ),
)
