// The small state of a log: epochs, the loss table, registers, cursors. It lives in two slots of
// 64 KiB in the manifest, written in turn, and in control records that ride in frames. Every change
// carries a revision of one log-wide counter; a slot holds all changes up to its revision, so that
// only later ones are taken from frames.
//
// A slot:
//
//   0  u32  magic "BSFS"
//   4  u32  CRC-32C of bytes 8 ..< length
//   8  u32  format version
//  12  u32  length in bytes, this header included
//  16  u64  generation: the highest valid slot is the state
//  24  16   log identifier
//  40  u64  durable sequence: the highest known durable when this was written
//  48  u64  retention's clock: milliseconds since 1970 as far as the log has observed them
//  56  u32  event flags: 1 dedupe horizon lost, 2 halted, 4 alarm (until it is acknowledged)
//  60  u16  count of epochs     62  u16  of losses     64  u16  of registers     66  u16  of cursors
//  68  u32  zero
//  72  u64  revision: every change up to it is in this slot
//  80  u64  head offset: one past the last durable record when this was written
//  88  i64  when the alarm began, milliseconds since 1970
//  96 ..< 128  zero
// 128  epochs: u64 epoch, u64 first offset, i64 began, u16 length, reason
//      losses: u64 first, u64 last, i64 time, u32 reasons
//      registers: u16 length, register record payload
//      cursors: u16 length, cursor record payload

struct LogState: Equatable, Sendable {
    static let magic: UInt32 = 0x5346_5342  // "BSFS"
    static let headerBytes = 128

    struct Loss: Equatable, Sendable {
        var first: UInt64
        var last: UInt64
        var timeMilliseconds: Int64
        var reasons: UInt32
    }

    struct Flags {
        static let dedupeHorizonLost: UInt32 = 1
        static let halted: UInt32 = 2
        static let alarm: UInt32 = 4
    }

    struct Register: Equatable, Sendable {
        var revision: UInt64
        var name: [UInt8]
        var value: [UInt8]
    }

    struct CursorState: Equatable, Sendable {
        var revision: UInt64
        var cursor: Cursor
        /// In a control record: the cursor was deleted.
        var isDeleted = false
    }

    var identifier: LogIdentifier
    var generation: UInt64 = 0
    var revision: UInt64 = 0
    var durableSequence: UInt64 = 0
    var retentionMilliseconds: UInt64 = 0
    var flags: UInt32 = 0
    var headOffset: UInt64 = 0
    var alarmMilliseconds: Int64 = 0
    var epochs: [EpochEntry]
    var losses = LossTable()
    var registers: [Register] = []
    var cursors: [CursorState] = []

    var epoch: UInt64 { epochs.last!.epoch }

    init(identifier: LogIdentifier, createdMilliseconds: Int64) {
        self.identifier = identifier
        epochs = [
            EpochEntry(
                epoch: 1, firstOffset: 0, beganMilliseconds: createdMilliseconds, reason: "created")
        ]
    }

    func register(_ name: [UInt8]) -> Register? { registers.first { $0.name == name } }

    func cursor(_ identity: CursorIdentity) -> CursorState? {
        cursors.first { $0.cursor.identity == identity }
    }

    /// Takes a change unless it is in already.
    mutating func apply(_ change: StateChange) {
        guard change.revision > revision else { return }
        revision = change.revision
        switch change {
        case .register(let register):
            if let index = registers.firstIndex(where: { $0.name == register.name }) {
                registers[index] = register
            } else {
                registers.append(register)
            }
        case .cursor(let state):
            if let index = cursors.firstIndex(where: { $0.cursor.identity == state.cursor.identity })
            {
                if state.isDeleted { cursors.remove(at: index) } else { cursors[index] = state }
            } else if !state.isDeleted {
                cursors.append(state)
            }
        }
    }

    func encode() -> [UInt8] {
        var writer = ByteWriter()
        writer.append(LogState.magic)
        writer.append(UInt32(0))
        writer.append(FormatLimits.formatVersion)
        writer.append(UInt32(0))
        writer.append(generation)
        writer.append(raw: identifier.bytes)
        writer.append(durableSequence)
        writer.append(retentionMilliseconds)
        writer.append(flags)
        writer.append(UInt16(epochs.count))
        writer.append(UInt16(losses.spans.count))
        writer.append(UInt16(registers.count))
        writer.append(UInt16(cursors.count))
        writer.append(UInt32(0))
        writer.append(revision)
        writer.append(headOffset)
        writer.append(alarmMilliseconds)
        writer.append(raw: [UInt8](repeating: 0, count: LogState.headerBytes - writer.bytes.count))
        for entry in epochs {
            writer.append(entry.epoch)
            writer.append(entry.firstOffset)
            writer.append(entry.beganMilliseconds)
            writer.append(text: entry.reason)
        }
        for loss in losses.spans {
            writer.append(loss.first)
            writer.append(loss.last)
            writer.append(loss.timeMilliseconds)
            writer.append(loss.reasons)
        }
        for register in registers {
            writer.append(counted: StateChange.register(register).encodePayload())
        }
        for cursor in cursors {
            writer.append(counted: StateChange.cursor(cursor).encodePayload())
        }
        precondition(writer.bytes.count <= FormatLimits.stateSlotBytes, "the state fits its slot")
        writer.replace(UInt32(writer.bytes.count), at: 12)
        let crc = writer.bytes.withUnsafeBytes {
            Checksum.of(UnsafeRawBufferPointer(rebasing: $0[8...]))
        }
        writer.replace(crc, at: 4)
        return writer.bytes
    }

    init(_ bytes: UnsafeRawBufferPointer) throws(FormatError) {
        guard let start = bytes.baseAddress, bytes.count >= LogState.headerBytes else {
            throw .truncated
        }
        guard start.integer(UInt32.self, at: 0) == LogState.magic else {
            throw .invalid("not a state slot")
        }
        let length = Int(start.integer(UInt32.self, at: 12))
        guard (LogState.headerBytes...min(bytes.count, FormatLimits.stateSlotBytes)).contains(length)
        else { throw .invalid("a state slot's length leaves its slot") }
        guard start.integer(UInt32.self, at: 4) == Checksum.extend(0, start + 8, length - 8) else {
            throw .checksum
        }
        let version: UInt32 = start.integer(at: 8)
        guard version == FormatLimits.formatVersion else { throw .unsupported(UInt64(version)) }
        generation = start.integer(at: 16)
        revision = start.integer(at: 72)
        identifier = LogIdentifier(bytes: Array(bytes[24..<40]))
        durableSequence = start.integer(at: 40)
        retentionMilliseconds = start.integer(at: 48)
        flags = start.integer(at: 56)
        headOffset = start.integer(at: 80)
        alarmMilliseconds = start.integer(at: 88)
        epochs = []
        var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[..<length]))
        try reader.skip(LogState.headerBytes)
        for _ in 0..<Int(start.integer(UInt16.self, at: 60)) {
            epochs.append(
                EpochEntry(
                    epoch: try reader.integer(), firstOffset: try reader.integer(),
                    beganMilliseconds: try reader.integer(), reason: try reader.text()))
        }
        var spans: [Loss] = []
        for _ in 0..<Int(start.integer(UInt16.self, at: 62)) {
            spans.append(
                Loss(
                    first: try reader.integer(), last: try reader.integer(),
                    timeMilliseconds: try reader.integer(), reasons: try reader.integer()))
        }
        losses = try LossTable(spans)
        for _ in 0..<Int(start.integer(UInt16.self, at: 64)) {
            guard case .register(let register) = try StateChange(
                kind: RecordKind.register, payload: try reader.counted())
            else { throw .invalid("not a register") }
            registers.append(register)
        }
        for _ in 0..<Int(start.integer(UInt16.self, at: 66)) {
            guard case .cursor(let cursor) = try StateChange(
                kind: RecordKind.cursor, payload: try reader.counted())
            else { throw .invalid("not a cursor") }
            cursors.append(cursor)
        }
        guard !epochs.isEmpty else { throw .invalid("a state slot has no epoch") }
    }
}

/// One change of the state; the payload of a control record.
///
///     register: u64 revision, u16 length, name, u16 length, value
///     cursor:   u64 revision, u16 flags (1 required, 2 digest, 4 receiver, 8 deleted,
///               16 detached, 32 lag limits),
///               u64 next offset, u64 epoch, u64 receiver epoch, i64 created,
///               u64 digest offset and 32 digest, 16 receiver, u16 length and detach reason,
///               u64 maximum lag in bytes and i64 in milliseconds (0: none), as flagged,
///               u16 length, owner, u16 length, name, u16 length, initialisation
enum StateChange: Equatable, Sendable {
    case register(LogState.Register)
    case cursor(LogState.CursorState)

    private struct CursorFlags {
        static let required: UInt16 = 1
        static let digest: UInt16 = 2
        static let receiver: UInt16 = 4
        static let deleted: UInt16 = 8
        static let detached: UInt16 = 16
        static let lag: UInt16 = 32
    }

    var revision: UInt64 {
        switch self {
        case .register(let register): register.revision
        case .cursor(let state): state.revision
        }
    }

    var kind: UInt8 {
        switch self {
        case .register: RecordKind.register
        case .cursor: RecordKind.cursor
        }
    }

    func encodePayload() -> [UInt8] {
        var writer = ByteWriter()
        writer.append(revision)
        switch self {
        case .register(let register):
            writer.append(counted: register.name)
            writer.append(counted: register.value)
        case .cursor(let state):
            let cursor = state.cursor
            writer.append(
                (cursor.required ? CursorFlags.required : 0)
                    | (cursor.digest != nil ? CursorFlags.digest : 0)
                    | (cursor.receiver != nil ? CursorFlags.receiver : 0)
                    | (state.isDeleted ? CursorFlags.deleted : 0)
                    | (cursor.detachReason != nil ? CursorFlags.detached : 0)
                    | (cursor.hasLagLimit ? CursorFlags.lag : 0))
            writer.append(cursor.nextOffset)
            writer.append(cursor.epoch)
            writer.append(cursor.receiverEpoch)
            writer.append(cursor.createdMilliseconds)
            if let digest = cursor.digest {
                writer.append(cursor.digestOffset ?? 0)
                writer.append(raw: digest.bytes)
            }
            if let receiver = cursor.receiver { writer.append(raw: receiver.bytes) }
            if let reason = cursor.detachReason { writer.append(text: reason) }
            if cursor.hasLagLimit {
                writer.append(cursor.maximumLagBytes ?? 0)
                writer.append(cursor.maximumLagMilliseconds ?? 0)
            }
            writer.append(text: cursor.owner)
            writer.append(text: cursor.name)
            writer.append(text: cursor.initialisation)
        }
        return writer.bytes
    }

    init(kind: UInt8, payload: [UInt8]) throws(FormatError) {
        let result = payload.withUnsafeBytes { bytes in
            Result { () throws(FormatError) in try StateChange(kind: kind, payload: bytes) }
        }
        self = try result.get()
    }

    init(kind: UInt8, payload: UnsafeRawBufferPointer) throws(FormatError) {
        var reader = ByteReader(payload)
        let revision: UInt64 = try reader.integer()
        switch kind & ~RecordKind.ignorableBit {
        case RecordKind.register:
            self = .register(
                LogState.Register(
                    revision: revision, name: try reader.counted(), value: try reader.counted()))
        case RecordKind.cursor:
            let flags: UInt16 = try reader.integer()
            var cursor = Cursor(owner: "", name: "")
            cursor.required = flags & CursorFlags.required != 0
            cursor.nextOffset = try reader.integer()
            cursor.epoch = try reader.integer()
            cursor.receiverEpoch = try reader.integer()
            cursor.createdMilliseconds = try reader.integer()
            if flags & CursorFlags.digest != 0 {
                cursor.digestOffset = try reader.integer()
                cursor.digest = Digest256(bytes: try reader.raw(Digest256.byteCount))
            }
            if flags & CursorFlags.receiver != 0 {
                cursor.receiver = LogIdentifier(bytes: try reader.raw(LogIdentifier.byteCount))
            }
            if flags & CursorFlags.detached != 0 { cursor.detachReason = try reader.text() }
            if flags & CursorFlags.lag != 0 {
                let bytes: UInt64 = try reader.integer()
                let milliseconds: Int64 = try reader.integer()
                cursor.maximumLagBytes = bytes == 0 ? nil : bytes
                cursor.maximumLagMilliseconds = milliseconds <= 0 ? nil : milliseconds
            }
            cursor.owner = try reader.text()
            cursor.name = try reader.text()
            cursor.initialisation = try reader.text()
            self = .cursor(
                LogState.CursorState(
                    revision: revision, cursor: cursor,
                    isDeleted: flags & CursorFlags.deleted != 0))
        default:
            throw .unsupported(UInt64(kind))
        }
    }
}

extension LogState {
    /// Whether its numbers can be counted on from.
    var isCountable: Bool {
        max(generation, revision, durableSequence, headOffset) < FormatLimits.counterMaximum
            && epochs.allSatisfy { max($0.epoch, $0.firstOffset) < FormatLimits.counterMaximum }
            && cursors.allSatisfy { StateChange.cursor($0).isCountable }
            && registers.allSatisfy { StateChange.register($0).isCountable }
    }
}

extension StateChange {
    /// Whether its numbers can be counted on from.
    var isCountable: Bool {
        switch self {
        case .register(let register): register.revision < FormatLimits.counterMaximum
        case .cursor(let state):
            max(state.revision, state.cursor.nextOffset, state.cursor.epoch)
                < FormatLimits.counterMaximum
        }
    }
}
