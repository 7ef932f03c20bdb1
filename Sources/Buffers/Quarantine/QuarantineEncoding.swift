internal import Facts

/// A record of the quarantine's log, little-endian:
///
///     u8  version 1     u8  kind: 1 fact, 2 removal
///     16  source log    u64 epoch    u64 offset
///     a fact goes on:
///     u8  flags: 1 halting, 2 offered digest, 4 stored digest, 8 stored offset
///     u64 quarantined, milliseconds since 1970
///     32  offered digest, 32 stored digest, u64 stored offset, each as flagged
///     u32 length and bytes: reason, sentence, stream, origin, stored record
enum QuarantineRecord: Equatable {
    case fact(QuarantinedFact)
    case removal(QuarantineIdentifier)

    private static let version: UInt8 = 1
    private static let sentenceBytesMaximum = 1_024

    private struct Flags {
        static let halting: UInt8 = 1
        static let offered: UInt8 = 2
        static let stored: UInt8 = 4
        static let storedOffset: UInt8 = 8
    }

    var identifier: QuarantineIdentifier {
        switch self {
        case .fact(let fact): fact.identifier
        case .removal(let identifier): identifier
        }
    }

    func encode() -> [UInt8] {
        var bytes: [UInt8] = [QuarantineRecord.version]
        func integer(_ value: some FixedWidthInteger) {
            withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
        }
        func counted(_ content: some Collection<UInt8>) {
            integer(UInt32(content.count))
            bytes += content
        }
        integer(isFact ? UInt8(1) : 2)
        bytes += identifier.logUUID
        integer(identifier.epoch)
        integer(identifier.offset)
        guard case .fact(let fact) = self else { return bytes }
        bytes.reserveCapacity(bytes.count + fact.storedRecord.count + 256)
        integer(
            (fact.isHalting ? Flags.halting : 0)
                | (fact.offeredDigest != nil ? Flags.offered : 0)
                | (fact.storedDigest != nil ? Flags.stored : 0)
                | (fact.storedOffset != nil ? Flags.storedOffset : 0))
        integer(fact.quarantinedMilliseconds)
        if let digest = fact.offeredDigest { bytes += digest.bytes }
        if let digest = fact.storedDigest { bytes += digest.bytes }
        if let offset = fact.storedOffset { integer(offset) }
        counted(fact.reason.rawValue.utf8)
        counted(fact.sentence.utf8.prefix(QuarantineRecord.sentenceBytesMaximum))
        counted(fact.stream.utf8)
        counted(fact.origin.utf8)
        counted(fact.storedRecord)
        return bytes
    }

    private var isFact: Bool { if case .fact = self { true } else { false } }

    /// Nil for what is no record of this version.
    init?(_ bytes: UnsafeRawBufferPointer) {
        var reader = Reader(bytes: bytes)
        guard reader.integer(UInt8.self) == QuarantineRecord.version,
            let kind = reader.integer(UInt8.self), let uuid = reader.take(16),
            let epoch = reader.integer(UInt64.self), let offset = reader.integer(UInt64.self)
        else { return nil }
        let identifier = QuarantineIdentifier(logUUID: Array(uuid), epoch: epoch, offset: offset)
        switch kind {
        case 1:
            guard let fact = QuarantineRecord.fact(identifier, &reader) else { return nil }
            self = .fact(fact)
        case 2: self = .removal(identifier)
        default: return nil
        }
    }

    private static func fact(_ identifier: QuarantineIdentifier, _ reader: inout Reader)
        -> QuarantinedFact?
    {
        guard let flags = reader.integer(UInt8.self),
            let milliseconds = reader.integer(Int64.self)
        else { return nil }
        func digest(_ flag: UInt8, _ reader: inout Reader) -> Digest? {
            flags & flag == 0 ? nil : reader.take(32).map { Digest($0) }
        }
        let offered = digest(Flags.offered, &reader)
        let stored = digest(Flags.stored, &reader)
        let storedOffset =
            flags & Flags.storedOffset == 0 ? nil : reader.integer(UInt64.self)
        guard let reason = reader.text().flatMap({ QuarantinedFact.Reason(rawValue: $0) }),
            let sentence = reader.text(), let stream = reader.text(), let origin = reader.text(),
            let record = reader.counted()
        else { return nil }
        var fact = QuarantinedFact(
            identifier: identifier, stream: stream, origin: origin, reason: reason,
            sentence: sentence, quarantinedMilliseconds: milliseconds, offeredDigest: offered,
            storedRecord: Array(record))
        fact.isHalting = flags & Flags.halting != 0
        fact.storedDigest = stored
        fact.storedOffset = storedOffset
        return fact
    }

    private struct Reader {
        let bytes: UnsafeRawBufferPointer
        var position = 0

        mutating func take(_ count: Int) -> UnsafeRawBufferPointer? {
            guard count <= bytes.count - position else { return nil }
            defer { position += count }
            return UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
        }

        mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type) -> Value? {
            take(MemoryLayout<Value>.size).map {
                Value(littleEndian: $0.loadUnaligned(as: Value.self))
            }
        }

        mutating func counted() -> UnsafeRawBufferPointer? {
            integer(UInt32.self).flatMap { take(Int($0)) }
        }

        mutating func text() -> String? { counted().map { String(decoding: $0, as: UTF8.self) } }
    }
}
