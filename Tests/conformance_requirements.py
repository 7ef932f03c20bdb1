"""The checklist of the BSFG specification (§19), each requirement in a few words, and which of them have a
decision in place of a check."""

PARTS = [
    (1, 19, "Append and durability"),
    (20, 28, "Store buffer and cursor"),
    (29, 36, "Forward buffer"),
    (37, 48, "Fetch and confirm"),
    (49, 59, "Modes and partition"),
    (60, 68, "Artifacts"),
    (69, 80, "Security"),
    (81, 88, "Configuration"),
    (89, 97, "Backpressure and retention"),
    (98, 104, "Observability"),
    (105, 108, "Ports and swappability"),
    (109, 116, "Failure and operations"),
    (117, 120, "Federation acceptance"),
]

_TEXT = """
AppendFact is acknowledged only after a durable local write
AppendFact succeeds with every peer unreachable
AppendFact returns an offset, and offsets strictly increase
an acknowledged fact survives a kill right after the acknowledgement
a retry with the same id and content returns the first offset and writes nothing
the same id with other content is `conflicting_duplicate` and changes nothing
equality ignores key order, white space and the spelling of numbers
equality includes artifact references
concurrent identical appends are one entry
a fact cannot be modified or deleted through the API
an envelope without a required field is rejected
a malformed subject is rejected
a predicate that is not lower_snake_case is rejected
an unknown object_schema is accepted and carried unchanged
a schema-invalid but well-formed object is accepted
optional fields come back unchanged
a from_zone that the caller may not speak for is rejected
zones outside the configured vocabulary are rejected
an acknowledgement implies neither delivery nor processing
replay from any retained offset is in the order of offsets
truncation refuses offsets beyond the committed frontier
confirmed {0,1,2,4,5} gives frontier 2, and confirming 3 gives 5
the frontier never moves backwards
the frontier is recovered from durable state after a crash
the frontier is frozen while the peer is unreachable
after a reconnect replay starts behind the frontier
an unconfirmed entry blocks truncation but not appends
the cursor moves only after a durable local append, never on fetch alone
putIfAbsent inserts once and reports a duplicate thereafter
putIfAbsent is atomic per key under concurrency
replaying an entire log twice leaves the forward buffer unchanged
no background worker is needed for deduplication
get by key and query by time return what was inserted
deduplication survives restarts and is not limited to a window
the key is selectable: payload, canonical content, explicit id
the hash is of SHA-256 strength
FetchFacts returns at most `limit` facts
FetchFacts without a confirm returns the same facts again
after ConfirmReceipt(n) the next fetch starts at n+1
consumer progress survives restarts of client and server
two consumer names progress independently
two instances of one consumer name share progress
ConfirmReceipt is idempotent, and an older offset rewinds nothing
ConfirmReceipt beyond what there is is refused
a failed item leaves the whole batch unconfirmed
fetch is unary
fetch never removes facts
order is kept per stream, and asserted across none
modes Normal, Autonomous and Reconciliation are observable
the loss of a peer moves the gate to Autonomous without an operator
in Autonomous local produce and consume succeed
the store fills, nothing is lost, no producer is blocked
the peer's return enters Reconciliation and replays by itself
Normal is restored only when the frontier has caught up
after a partition in both directions each side holds every fact once
recovery never wipes or recreates a store
losing one peer does not affect another
transfer works with no push from the source
losing all notifications delays but never prevents transfer
PutObject returns digest and size, after durability
a referencing fact can be validated against the store
a referenced object cannot be overwritten
a referenced object cannot be deleted while its fact is retained
unreferenced uploads are found and reclaimed
a retrieved object is verified against its digest
a missing object is not found, retried with backoff, and an alert
a peer may read only artifact types granted to it
large payloads are refused inline, the limit configurable
no plaintext, and no client without a certificate
a certificate of an unknown CA is refused
an expired certificate is refused
a valid certificate of an unlisted zone is refused
a listed zone is refused on a stream it has not been granted
authorisation may differ per direction
TLS below 1.3 is refused
identity is read from CN or SAN per configuration
certificates under 30 days to expiry raise a warning
a certificate can be rotated without losing cursors
denials are logged with the identity and counted
health requires mutual TLS and returns zone identity and status
the peers' configuration is parsed, and malformed entries fail at start
`authorized: false` denies even a listed peer
five cursor init modes, by default bounded_backfill_24h
bounded_backfill_Nh replays exactly the last N hours
start_now delivers no earlier fact, full_backfill all retained
explicit_timestamp starts at the instant, a bad one is rejected
a stream's override beats the default
an init policy never moves an existing cursor
at 80 % fill with policy reject AppendFact fails fast with a named error
with drop_oldest the oldest unconfirmed go, counted and logged
the safety profile cannot be configured with drop_oldest
in the safety profile nothing unconfirmed is removed by age or size
backpressure raises an alert in the safety profile
appends resume by themselves when fill falls
expiry about to cut unconfirmed facts raises an alert first
retention is configurable per stream and independent of consumption
expired facts are gone, and a fetch at their place says so
/metrics exposes every named metric with its type
the lag gauge falls to near zero on a drained link and grows with unconfirmed age
the frontier that is shown is the durable one
the fill that is shown is used over capacity
logs are structured, one event a line, with zone and peer
retries, duplicates and authorisation failures are countable
the log shows the sequence of a reconciliation
one conformance suite runs unchanged against every adapter
the core compiles and tests with in-memory adapters only
replacing an adapter changes no core file
the core never imports a substrate library
killed in mid-append: acknowledged and there, or a retry succeeds once
the receiver killed between insert and confirm: no loss, no duplicate
the receiver killed between fetch and insert: fetched again
a torn tail record is detected and harms no earlier record
shutdown drains calls in flight
a full disk is reported as an error, never as an acknowledgement
a large gap is replayed in bounded memory
an incompatible history is refused, not merged
each step of acceptance has a scripted check
re-fetching from an old cursor leaves record counts unchanged
backlog accumulates during a drill and drains after it
Enterprise, IDMZ and Plant deliver with no direct Enterprise-Plant link
"""

REQUIREMENTS = dict(enumerate(_TEXT.strip().splitlines(), 1))
assert len(REQUIREMENTS) == PARTS[-1][1]

METRICS = "0060-conformance-without-metrics.md"

# Number to a sentence and the decision that says more.
DECIDED = {
    98: ("Comes with the release that serves /metrics.", METRICS),
    99: ("Comes with it; `bsfg status` shows each pull's head and position.", METRICS),
}
