"""Drives `bsfg log exercise`: sends commands, takes answers as they come, tells the oracle."""

import json
import os
import signal
import subprocess
import threading
import time

from log_common import BSFG


class Exercise:
    """One life of a writer.

    Answers are taken by a thread of its own. What a fault does to the writer is read from `refused`,
    `unknown`, `poisoned` and `status` afterwards; an acknowledgement of new records that comes after
    the log told that it failed is noted with the oracle as wrong.
    """

    _lives = 0
    _living = set()

    def __init__(self, oracle, directory, segment=1 << 20, capacity=64 << 20, profile="standard",
                 in_flight=64, options=(), wrapper=(), environment=None):
        Exercise._lives += 1
        self.life = Exercise._lives
        self.oracle = oracle
        self.condition = threading.Condition()
        self.lines = {}          # line number: batch, or the command's first word
        self.answers = {}        # line number: answer, of those that somebody may wait for
        self.line = 0
        self.opened = None
        self.acknowledged = 0    # batches
        self.records = 0
        self.refused = {}        # reason: count
        self.unknown = 0
        self.poisoned = 0
        self.failed = []         # sentences
        self.cause = None        # of the first unknown or poisoned answer
        self.highest = -1        # offset
        self.refusals = []       # microseconds of each
        self.pipe_broken = False
        self.unanswered = 0      # appends
        self.window = 2 * in_flight
        self.process = subprocess.Popen(
            [*wrapper, BSFG, "log", "exercise", "--dir", directory, "--segment", str(segment),
             "--capacity", str(capacity), "--profile", profile, "--in-flight", str(in_flight),
             *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # With its wrapper in a group of its own, so that both can be killed.
            start_new_session=True,
            env={**os.environ, **(environment or {})})
        Exercise._living.add(self.process)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.complaints = b""
        self.complainer = threading.Thread(target=self._complain, daemon=True)
        self.complainer.start()

    # Commands

    def append(self, key, size, count=1, keyed=True):
        """Sends a batch, as soon as not too many are under way."""
        with self.condition:
            while self.unanswered >= self.window and self.reader.is_alive():
                self.condition.wait(0.2)
            self.unanswered += 1
        batch = self.oracle.sent(key, size, count, keyed, self.life)
        return self._send(f"{'append' if keyed else 'plain'} {key} {size} {count}", batch)

    def confirm(self, offset):
        self.oracle.confirm_asked = max(self.oracle.confirm_asked, offset)
        return self._send(f"confirm {offset}", "confirm")

    def read(self, first, count, seconds=60):
        return self.answer(self._send(f"read {first} {count}", "read"), seconds)

    def statistics(self, seconds=60):
        return self.answer(self._send("stats", "stats"), seconds)

    def gaps(self, seconds=60):
        return self.answer(self._send("gaps", "gaps"), seconds)

    def acknowledge(self):
        return self._send("acknowledge", "acknowledge")

    def wait(self, seconds=60):
        """Until everything sent before is answered; None when the writer ended instead."""
        return self.answer(self._send("wait", "wait"), seconds)

    def close(self, seconds=60):
        """Ends the input and waits for the end; the exit status, None when it hangs."""
        try:
            self.process.stdin.close()
        except OSError:
            pass
        return self._end(seconds)

    @classmethod
    def kill_all(cls):
        """When a layer ends in the middle: nobody writes into what is cleaned up."""
        for process in cls._living:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        status = self._end(30)
        try:
            self.process.stdin.close()
        except OSError:
            pass
        return status

    def answer(self, line, seconds=60):
        """Waits for the answer to a line; None when the writer ended or the time is over."""
        deadline = time.monotonic() + seconds
        with self.condition:
            while line not in self.answers:
                left = deadline - time.monotonic()
                if left <= 0 or not self.reader.is_alive():
                    return self.answers.get(line)
                self.condition.wait(min(left, 0.2))
            return self.answers[line]

    @property
    def has_failed(self):
        return self.unknown + self.poisoned > 0

    # Inside

    def _send(self, text, what):
        with self.condition:
            self.line += 1
            line = self.line
            self.lines[line] = what
        try:
            self.process.stdin.write(text.encode() + b"\n")
            self.process.stdin.flush()
        except (OSError, ValueError):
            self.pipe_broken = True
        return line

    def _end(self, seconds):
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        Exercise._living.discard(self.process)
        self.reader.join(60)
        self.complainer.join(60)
        return status

    def _complain(self):
        self.complaints = self.process.stderr.read()

    def _read(self):
        for text in self.process.stdout:
            if not text.endswith(b"\n"):
                break  # cut off by the writer's death: no answer
            try:
                answer = json.loads(text)
            except ValueError:
                # Before the log is open something below may have made it another program: without
                # its own command line it prints help.
                if self.opened is None:
                    continue
                self.oracle.wrong.append(f"the writer says what is no answer: {text[:300]!r}")
                continue
            with self.condition:
                self._take(answer)
                self.condition.notify_all()
        with self.condition:
            self.condition.notify_all()

    def _take(self, answer):
        what = self.lines.get(answer["line"])
        if hasattr(what, "answer"):
            self.unanswered -= 1
        word = answer["answer"]
        if answer["line"] == 0 and word == "opened":
            self.opened = answer
        elif word == "appended":
            self._appended(what, answer)
        elif word == "confirmed":
            self.oracle.confirm_answered = max(
                self.oracle.confirm_answered, answer["next_offset"])
        elif word == "refused":
            self.refused[answer["reason"]] = self.refused.get(answer["reason"], 0) + 1
            self.refusals.append(answer.get("microseconds", 0))
            if hasattr(what, "answer") and what.answer is None:
                what.answer = "refused"
        elif word in ("unknown", "poisoned"):
            self.cause = self.cause or answer["sentence"]
            if word == "unknown":
                self.unknown += 1
            else:
                self.poisoned += 1
            if hasattr(what, "answer") and what.answer is None:
                what.answer = word
        elif word == "failed":
            # A reader that asks for what is gone is told so.
            if answer["reason"] != "gap":
                self.failed.append(answer["sentence"])
        elif word == "read" and answer["wrong"]:
            self.oracle.phantom.append(f"read gives {answer['wrong']} records with wrong bytes")
        self.answers[answer["line"]] = answer

    def _appended(self, batch, answer):
        outcomes = answer.get("outcomes")
        is_new = not outcomes or "appended" in outcomes
        if self.has_failed and is_new:
            self.oracle.wrong.append(
                f"{batch.key} is acknowledged after the log said: {self.cause}")
        self.oracle.answered(batch, answer["first"], outcomes, answer.get("offsets"))
        self.acknowledged += 1
        self.records += batch.count
        self.highest = max(self.highest, answer["last"])
