internal import Facts

/// One record of the name index: the whole state of a name, that a name is gone, or how far a log's
/// references are recorded. The last record of a name wins.
///
/// All integers little-endian; a text is its length as u16 and its bytes. First one byte of kind:
///
///     1 name      zone, bucket, key; flags u8 (1 stored, 2 expected); stored: content, u64 time;
///                 expected: content; u16 count, and per use 16 bytes log UUID, u64 offset
///     2 removed   zone, bucket, key
///     3 followed  16 bytes log UUID, u64 offset
///     content     32 bytes digest, u64 size, media type, file name
enum ArtifactIndexRecord {
    case name(ArtifactEntry)
    case removed(ArtifactName)
    case followed(log: [UInt8], offset: UInt64)

    private enum Kind: UInt8 {
        case name = 1
        case removed = 2
        case followed = 3
    }

    var bytes: [UInt8] {
        var writer = Writer()
        switch self {
        case .name(let entry):
            writer.integer(Kind.name.rawValue)
            writer.name(entry.name)
            writer.integer(UInt8((entry.stored == nil ? 0 : 1) | (entry.expected == nil ? 0 : 2)))
            if let stored = entry.stored {
                writer.content(stored.content)
                writer.integer(UInt64(bitPattern: stored.storedMilliseconds))
            }
            if let expected = entry.expected { writer.content(expected) }
            writer.integer(UInt16(clamping: entry.uses.count))
            for use in entry.uses.prefix(Int(UInt16.max)) {
                writer.bytes += use.log
                writer.integer(use.offset)
            }
        case .removed(let name):
            writer.integer(Kind.removed.rawValue)
            writer.name(name)
        case .followed(let log, let offset):
            writer.integer(Kind.followed.rawValue)
            writer.bytes += log
            writer.integer(offset)
        }
        return writer.bytes
    }

    /// Nil for bytes that are no record.
    init?(_ bytes: UnsafeRawBufferPointer) {
        var reader = Reader(bytes: bytes)
        guard let number = reader.integer(UInt8.self), let kind = Kind(rawValue: number) else {
            return nil
        }
        switch kind {
        case .name:
            guard let entry = reader.entry() else { return nil }
            self = .name(entry)
        case .removed:
            guard let name = reader.name() else { return nil }
            self = .removed(name)
        case .followed:
            guard let log = reader.take(16), let offset = reader.integer(UInt64.self) else {
                return nil
            }
            self = .followed(log: Array(log), offset: offset)
        }
        guard reader.isAtEnd else { return nil }
    }
}

extension ArtifactEntry {
    /// Of its record, in bytes.
    var recordByteCount: Int {
        let parts = [name.zone, name.bucket, name.key].reduce(2) { $0 + 2 + $1.utf8.count }
        return parts + (stored.map { $0.content.recordByteCount + 8 } ?? 0)
            + (expected?.recordByteCount ?? 0) + 2 + 24 * uses.count
    }

    /// What a name counts: one whose bytes are not here counts what their coming adds, so that it has room.
    var reservedByteCount: Int {
        guard stored == nil else { return recordByteCount }
        return recordByteCount + (expected?.recordByteCount ?? ArtifactContent.usualByteCount) + 8
    }
}

extension ArtifactContent {
    fileprivate static let usualByteCount = 128

    fileprivate var recordByteCount: Int {
        Digest.byteCount + 8 + 2 + mediaType.utf8.count + 2 + fileName.utf8.count
    }
}

private struct Writer {
    var bytes: [UInt8] = []

    mutating func integer(_ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func text(_ text: String) {
        precondition(text.utf8.count <= UInt16.max, "names and media types are short")
        integer(UInt16(text.utf8.count))
        bytes += text.utf8
    }

    mutating func name(_ name: ArtifactName) {
        text(name.zone)
        text(name.bucket)
        text(name.key)
    }

    mutating func content(_ content: ArtifactContent) {
        bytes += content.digest.bytes
        integer(content.size)
        text(content.mediaType)
        text(content.fileName)
    }
}

private struct Reader {
    let bytes: UnsafeRawBufferPointer
    private var position = 0

    init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var isAtEnd: Bool { position == bytes.count }

    mutating func take(_ count: Int) -> UnsafeRawBufferPointer? {
        guard bytes.count - position >= count else { return nil }
        defer { position += count }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<(position + count)])
    }

    mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type) -> Value? {
        take(MemoryLayout<Value>.size).map { Value(littleEndian: $0.loadUnaligned(as: Value.self)) }
    }

    mutating func text() -> String? {
        guard let count = integer(UInt16.self), let text = take(Int(count)) else { return nil }
        return String(validating: text, as: UTF8.self)
    }

    mutating func name() -> ArtifactName? {
        guard let zone = text(), let bucket = text(), let key = text() else { return nil }
        return ArtifactName(zone: zone, bucket: bucket, key: key)
    }

    mutating func content() -> ArtifactContent? {
        guard let digest = take(Digest.byteCount), let size = integer(UInt64.self),
            let mediaType = text(), let fileName = text()
        else { return nil }
        return ArtifactContent(
            digest: Digest(digest), size: size, mediaType: mediaType, fileName: fileName)
    }

    mutating func entry() -> ArtifactEntry? {
        guard let name = name(), let flags = integer(UInt8.self) else { return nil }
        var entry = ArtifactEntry(name: name)
        if flags & 1 != 0 {
            guard let content = content(), let time = integer(UInt64.self) else { return nil }
            entry.stored = StoredArtifact(
                name: name, content: content, storedMilliseconds: Int64(bitPattern: time))
        }
        if flags & 2 != 0 {
            guard let content = content() else { return nil }
            entry.expected = content
        }
        guard let count = integer(UInt16.self) else { return nil }
        for _ in 0..<count {
            guard let log = take(16), let offset = integer(UInt64.self) else { return nil }
            entry.uses.append((Array(log), offset))
        }
        return entry
    }
}
