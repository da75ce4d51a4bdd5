"""The records of one folder of results: what is there already, and keeping what is made."""

from bisect import insort
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from eval.config import AUTO, RunConfig
from eval.errors import RunError
from eval.inference.engines.registry import ENGINES
from eval.records.current import keys_shown
from eval.records.record import Record, Settings
from eval.records.store import RECORDS_FOLDER, by_key, read_records, write_record
from eval.run.keys import hash_of
from eval.run.observer import Observer
from eval.run.tasks import is_final, making_of
from eval.zoo.model_info import ModelInfo

LOGS_FOLDER = "logs"


class Keeper:
    """Reads the records of a folder of results once, and adds to them; ``Launch`` says what its fields mean.

    What another command adds to the folder meanwhile is not seen; nor is it written over, for the store looks there.
    """

    def __init__(self, save_dir: Path | None, images_dir: Path | None, redo: bool, observer: Observer) -> None:
        """Read what is there, before anything runs whose record could not be kept beside it.

        Raises:
            RunError: a file there is no record of this schema version; the message names it.
        """
        self.save_dir, self.images_dir, self.redo, self.observer = save_dir, images_dir, redo, observer
        # Oldest first; the second are those of the folder for SR images, where it is another one.
        self._known = read_records(save_dir / RECORDS_FOLDER) if save_dir else []
        apart = images_dir is not None and images_dir != save_dir
        self._of_images = read_records(images_dir / RECORDS_FOLDER) if images_dir and apart else []

    def beside_images(self) -> list[Record]:
        """Return all records that tell whose images lie where SR images are written, oldest first."""
        return sorted([*self._known, *self._of_images], key=_started_at)

    def answers(self, keys: Iterable[str]) -> dict[str, Record]:
        """Return the records that answer tasks of these keys, by key: of former commands, and of this one.

        None does that tables would not show, nor one whose SR images others lie in the place of: it is measured again.
        """
        wanted = set(keys)
        known = {} if self.redo else by_key(record for record in self._known if record.key in wanted)
        final = {key: record for key, record in known.items() if is_final(record) and self._has_its_images(record)}
        shown = keys_shown(self._known) if final else set()
        for key, record in final.items():
            if record.complete and key not in shown:
                what = f"{record.model.label} on {record.dataset.name}"
                self.observer.say(f"again    {what}: tables show a newer record, made otherwise")
        return {key: record for key, record in final.items() if key in shown or not record.complete}

    def _has_its_images(self, record: Record) -> bool:
        """Tell whether the SR images that a run wrote are still there, and its own, if they are asked for."""
        folder = record.images_folder and self.images_dir and self.images_dir / record.images_folder
        if not folder:
            return True
        there = all((folder / f"{image.name}.png").is_file() for image in record.images)
        return there and not any(_wrote_over(its, record) for its in (*self._known, *self._of_images))

    def store(self, record: Record) -> None:
        """Keep a record and say what is not complete; its figures are told if it cannot be written.

        Raises:
            RunError: it could not be written.
        """
        if not record.complete:
            self.observer.warn(f"{record.model.label} on {record.dataset.name} {record.outcome}")
        if self.save_dir is None:
            return
        try:
            path = write_record(record, self.save_dir / RECORDS_FOLDER)
        except (OSError, RunError) as error:
            self.observer.failed_to_store(record)
            raise RunError(f"the record of these figures could not be written: {error}") from error
        insort(self._known, record, key=_started_at)
        if not record.complete and record.images:
            self.observer.warn(f"the finished images are in the record {path}")
        if record.traceback:
            self._write_log(self.save_dir / LOGS_FOLDER / f"{path.stem}.log", record.traceback)

    def _write_log(self, log: Path, text: str) -> None:
        try:
            log.parent.mkdir(exist_ok=True)
            log.write_text(text, encoding="utf-8")
        except OSError as error:
            self.observer.warn(f"the traceback could not be written to a log ({error}); it is in the record")
            return
        self.observer.warn(f"the traceback is in {log}")

    def engine_taken_before(self, info: ModelInfo, config: RunConfig) -> Settings | None:
        """Return the settings with what ``auto`` took for this model before, asked alike: its word stays.

        It is none where the network, the code, its libraries or the machine are others than they were.
        """
        if self.redo:
            return None
        for record in reversed(self._known):
            decided = record.complete and record.settings.engine_asked == AUTO
            if decided and _made_alike(record, info, config):
                return record.settings
        return None


def _wrote_over(record: Record, former: Record) -> bool:
    """Tell whether a record's run, finished or not, wrote other images where a former one's lay."""
    same = record.images_folder == former.images_folder and record.images
    return bool(same) and record.started_at > former.started_at and record.figures_key != former.figures_key


def _started_at(record: Record) -> datetime:
    return record.started_at


def _made_alike(record: Record, info: ModelInfo, config: RunConfig) -> bool:
    """Tell whether a record was made of what would be run now, as it would be run, but for the engine."""
    engine, images = record.settings.engine, (record.dataset.name, record.dataset.sha256)
    # Threads change no pixel, but which engine is the fastest.
    if engine not in ENGINES or record.config is None or record.config.threads_each != config.threads_each:
        return False
    return record.figures_key == hash_of(making_of(info, images, config.replaced(engine=engine)))
