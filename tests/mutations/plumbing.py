"""Breakages of everything that is not mathematics: files, checkpoints, records, data, the command
line, distributed training, export and the hub.
"""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

#: (file, test files, (what is wrong, old, new), …)
PLUMBING: tuple[tuple[str, str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "__main__.py",
        "test_ranks.py",
        (
            (
                "one of several processes ends as one alone",
                "    if several:\n        leave(0)\n",
                "",
            ),
        ),
    ),
    (
        "samplers/base.py",
        "samplers/test_base.py",
        (("a gradient of the user's own stays", "x[rows]).detach()\n", "x[rows])\n"),),
    ),
    (
        "runs/directory.py",
        "judging/test_evaluate.py",
        (("events that lack something", "name in event,\n", "True,\n"),),
    ),
    (
        "files.py",
        "test_files.py",
        (
            (
                "content not synced",
                "            os.fsync(file.fileno())\n            part.replace",
                "            part.replace",
            ),
            (
                "folder not synced",
                "        part = None\n        sync_folder(path.parent)",
                "        part = None",
            ),
            (
                "the name before the content",
                "            file.write(content)\n            file.flush()",
                "            part.replace(path)\n            part = path\n           "
                " file.write(content)\n            file.flush()",
            ),
            (
                "a part left after an error",
                "                part.unlink()",
                "                part.exists()",
            ),
            ("numbers that JSON lacks", "allow_nan=False", "allow_nan=True"),
            ("permissions of its own", "0o666\n", "0o600\n"),
            (
                "a part of a living process is swept",
                "                if lock(handle, wait=False):",
                "                if True:",
            ),
            (
                "no part is swept",
                "                if lock(handle, wait=False):",
                "                if False:",
            ),
            ("names cut by letters", "os.fsencode(name)[:100]", "os.fsencode(name)[:250]"),
            ("no locks, no file", "        if not wait:\n            raise\n", "        raise\n"),
            (
                "an error of the disk is hidden",
                "        if error.errno not in UNSUPPORTED:\n            raise\n",
                "",
            ),
        ),
    ),
    (
        "runs/checkpoint.py",
        "runs/test_checkpoint.py models/test_packing.py",
        (
            (
                "the checksum is not compared",
                'good = header.get("checksum") == checksum(tensors, meta)',
                "good = True",
            ),
            (
                "shapes are not in the checksum",
                'f"{name} {t.dtype} {tuple(t.shape)}".encode()',
                "name.encode()",
            ),
            (
                "the header is not in the checksum",
                "json.dumps(meta, sort_keys=True).encode(), digest_size=20",
                "b'', digest_size=20",
            ),
            (
                "the oldest are kept",
                "if path.name <= newest.name][:-keep]:",
                "if path.name <= newest.name][keep:]:",
            ),
            ("the oldest is the newest", "for path in reversed(paths):", "for path in paths:"),
            (
                "a newer format is passed over",
                "        except NewerFormatError:\n            raise\n",
                "",
            ),
            (
                "the header is not checked",
                '    if meta.get("holds", "model") == "model":\n        require_trained(found)\n',
                "",
            ),
            ("points of any shape", "            event == shape,\n", "            True,\n"),
            (
                "weights of any shape",
                "if shape_in(ours, name) != shape_in(weights, name)",
                "if (name in ours) != (name in weights)",
            ),
        ),
    ),
    (
        "training/by_name.py",
        "cli/test_own_code.py",
        (
            (
                "what a configuration names is imported",
                "self.trust or name in self.allowed,",
                "True,",
            ),
        ),
    ),
    (
        "cli/own.py",
        "cli/test_own_code.py",
        (
            ("trusted unasked", "if name is None and flags.trust and needed", "if name is None"),
            ("a changed file is not told", "before is not None and before != now", "False"),
        ),
    ),
    (
        "runs/directory.py",
        "runs/test_checkpoint.py training/test_restored.py",
        (
            (
                "a step too few is kept",
                "if len(kept) == last_step or step_of(line) != len(kept) + 1:",
                "if len(kept) == last_step - 1 or step_of(line) != len(kept) + 1:",
            ),
            (
                "a line that was cut off counts",
                '    *lines, _ = content.decode("utf-8", "replace").split("\\n")',
                '    lines = content.decode("utf-8", "replace").split("\\n")',
            ),
            (
                "events are lost",
                "lines = (*before, json.dumps(event))",
                "lines = (json.dumps(event),)",
            ),
            ("records stay in memory", "            self._records.flush()\n", ""),
            ("two may train", "        if not alone:", "        if False:"),
            (
                "records are not synced",
                "                os.fsync(self._records.fileno())",
                "                self._records.fileno()",
            ),
        ),
    ),
    (
        "training/opening.py",
        "training/test_restored.py",
        (("no sync before a checkpoint", "            run.sync()\n", ""),),
    ),
    (
        "training/opening.py",
        "training/test_former.py",
        (
            (
                "a run of before cannot resume",
                "of_a_run(run.read_config())",
                "run.read_config()",
            ),
        ),
    ),
    (
        "models/trained.py",
        "training/test_former.py",
        (
            (
                "a checkpoint of before cannot be loaded",
                'of_a_run(saved.meta["config"] | {"data": told})',
                'saved.meta["config"] | {"data": told}',
            ),
        ),
    ),
    (
        "models/packing.py",
        "training/test_former.py",
        (
            (
                "a run of before is packed in the former form",
                'of_a_run(saved.meta["config"])',
                'saved.meta["config"]',
            ),
            (
                "a model of before is another answer",
                'of_a_run(there.meta["config"])',
                'there.meta["config"]',
            ),
        ),
    ),
    (
        "training/resolve.py",
        "training/test_former.py",
        (
            (
                "a file of before is not read",
                "up_to_date(from_file)",
                "from_file",
            ),
        ),
    ),
    (
        "training/former.py",
        "training/test_former.py",
        (
            (
                "a mixture is read as if it were none",
                'all(first(name) != "objective" for name in values)',
                "True",
            ),
        ),
    ),
    (
        "training/state.py",
        "training/test_restored.py",
        (
            ("slowdown is not restored", '        self.slowdown = saved.meta["slowdown"]\n', ""),
            (
                "rollbacks are not restored",
                '        self.rollbacks = saved.meta["rollbacks"]\n',
                "",
            ),
        ),
    ),
    (
        "training/config.py",
        "training/test_restored.py",
        (
            (
                "the seed may change",
                '*("steps", "save_every", "keep", "chunk_size")',
                '*("steps", "save_every", "keep", "chunk_size", "seed")',
            ),
        ),
    ),
    (
        "training/interrupts.py",
        "training/test_restored.py training/test_interruptions.py",
        (
            (
                "a second Ctrl-C is swallowed",
                "            raise KeyboardInterrupt\n",
                "            return\n",
            ),
            ("no SIGHUP", '("SIGINT", "SIGTERM", "SIGHUP")', '("SIGINT", "SIGTERM")'),
            (
                "handlers are not put back",
                "            signal.signal(number, handler)\n",
                "            pass\n",
            ),
        ),
    ),
    (
        "runs/origin.py",
        "runs/test_origin.py models/test_packing.py",
        (
            ("any signature", "hmac.compare_digest(there.encode(), code.encode())", "bool(there)"),
            (
                "paths are not signed",
                '{"kind": data.get("kind")} | paths_of(data)',
                '{"kind": data.get("kind")}',
            ),
            ("paths stay", "    return data | nowhere |", "    return data |"),
            ("downloads stay", '({"download": False} if', '({"download": True} if'),
            ("everybody may read the key", "0o600)", "0o644)"),
        ),
    ),
    (
        "models/trained.py",
        "runs/test_origin.py",
        (
            (
                "packed models are trusted",
                "if is_packed(path) or not is_signed(path, told):",
                "if not is_packed(path) and not is_signed(path, told):",
            ),
            (
                "data from elsewhere are read",
                "        model.elsewhere is None,\n",
                "        True,\n",
            ),
        ),
    ),
    (
        "networks/sizes.py",
        "runs/test_origin.py",
        (("any size", "1 <= value <= most", "1 <= value"),),
    ),
    (
        "reading.py",
        "test_reading.py",
        (
            ("devices are files", "if not stat.S_ISREG(about.st_mode):", "if False:"),
            ("any size", "if about.st_size > most:", "if False:"),
            (
                "words for numbers",
                "validate_json(content, strict=True)",
                "validate_json(content, strict=False)",
            ),
            ("archives of any size", "        if size > most:", "        if False:"),
            (
                "the line before",
                "line {int(number) + 1} is damaged ({why})",
                "line {int(number)} is damaged ({why})",
            ),
        ),
    ),
    (
        "cli/values.py",
        "cli/test_values.py",
        (
            ("leading zeros", "(?:0|[1-9][0-9]{0,24})", "(?:[0-9]{1,25})"),
            ("names twice", 'require(key not in values, f"', 'require(True, f"'),
            (
                "aliases count once",
                "        if id(node) not in sizes:\n",
                "        if id(node) in sizes:\n            return 0\n        else:\n",
            ),
            (
                "tags are read",
                "Loader.add_constructor(None, refuse_tag)",
                "Loader.add_constructor(None, plain_scalar)",
            ),
            (
                "fractions are cut off",
                "int(value) if value.is_integer() and abs",
                "int(value) if abs",
            ),
        ),
    ),
    (
        "cli/printable.py",
        "cli/test_printable.py",
        (
            ("escape sequences", 'HIDDEN = ("Cc", "Cf"', 'HIDDEN = ("Cf"'),
            ("directions", '"Cc", "Cf", "Cs"', '"Cc", "Cs"'),
            ("formulas", 'FORMULA = ("=", ', "FORMULA = ("),
            ("lines without end", "if longest is None or len(shown) <= longest:", "if True:"),
        ),
    ),
    (
        "overwriting.py",
        "test_overwriting.py",
        (
            (
                "another answer is overwritten",
                '    keep_former((record, *beside), difference(there.get("asked"), asked))\n',
                "",
            ),
            (
                "the request is not noted first",
                '    write_json(record, {"asked": asked, "unfinished": True})\n',
                "",
            ),
            ("a former answer is overwritten", "        number += 1\n", "        break\n"),
        ),
    ),
    (
        "data/folder.py",
        "data/test_data_folder.py",
        (
            (
                "bad pictures count as good",
                "np.delete(whole, list(bad), 0) if bad else whole",
                "whole",
            ),
            (
                "held-out pictures are trained on",
                "        num_train -= sum(i < num_train for i in bad)\n",
                "",
            ),
            (
                "skipped without a word",
                "            if not self.skip_bad or num_train",
                "            if num_train",
            ),
        ),
    ),
    (
        "data/flowers102.py",
        "data/test_data_flowers102.py",
        (
            (
                "not checked before it is parsed",
                "    check(path, CHECKSUMS[path.name], str(path)",
                "    return\n    check(path, CHECKSUMS[path.name], str(path)",
            ),
        ),
    ),
    (
        "data/download.py",
        "data/test_data_download.py",
        (("any checksum", "    require(got == checksum,", "    require(True,"),),
    ),
    (
        "models/export.py",
        "models/test_export.py",
        (
            ("not compared", "        difference <= TOLERANCE * scale,\n", "        True,\n"),
            ("another energy is overwritten", "    keep_another(path, made_of)\n", ""),
        ),
    ),
    (
        "models/hub.py",
        "models/test_hub.py",
        (("everything is pushed", "allow_patterns=[MODEL, CARD]", "allow_patterns=None"),),
    ),
    (
        "ranks.py",
        "test_ranks.py",
        (
            (
                "rows of another rank",
                "tensor.tensor_split(self.size)[self.rank]",
                "tensor.tensor_split(self.size)[0]",
            ),
            (
                "errors stay where they are",
                "        if failed:\n            errors",
                "        if False:\n            errors",
            ),
        ),
    ),
)

MUTATIONS: tuple[Mutation, ...] = tuple(
    mutation for file, tests, changes in PLUMBING for mutation in breakages(file, tests, *changes)
)
