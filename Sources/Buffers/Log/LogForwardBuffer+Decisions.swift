internal import Facts
internal import WriteAheadLog

/// What an operator decides about a forward buffer: late facts, halts and their ends, other histories.
extension LogForwardBuffer {
    private static let haltRegister = "halt"

    package func putLate(_ record: ForwardRecord) throws(BufferError) -> PutOutcome {
        // A conflict is an outcome here and no error: somebody asked about this one fact.
        var conflict: PutOutcome?
        do throws(BufferError) {
            return try put([record], []).outcomes[0]
        } catch {
            guard case .conflict(_, let offset, let stored) = error.kind else { throw error }
            conflict = .conflict(offset: offset, stored: stored)
        }
        return conflict!
    }

    package var halt: ForwardHalt? {
        log.register(LogForwardBuffer.haltRegister).flatMap { ForwardHalt(register: $0) }
    }

    /// The register is what counts; the log's own mark tells tools of it.
    package func setHalt(_ halt: ForwardHalt?) throws(BufferError) {
        do throws(LogError) {
            try log.setRegisters([haltUpdate(halt)])
            try log.setHalted(halt != nil)
        } catch {
            throw BufferError(error)
        }
    }

    package func putRefusal(_ record: ForwardRecord, from: SourcePosition, to: SourcePosition)
        throws(BufferError)
    {
        let move = RegisterUpdate(
            name: LogForwardBuffer.register, expected: from.register, value: to.register)
        _ = try put([record], [move, haltUpdate(nil)])
        do throws(LogError) { try log.setHalted(false) } catch { throw BufferError(error) }
    }

    package func accept(_ position: SourcePosition, from: SourcePosition) throws(BufferError) {
        do throws(LogError) {
            try log.setRegisters([
                RegisterUpdate(
                    name: LogForwardBuffer.register, expected: from.register,
                    value: position.register),
                haltUpdate(nil),
            ])
            try log.setHalted(false)
        } catch {
            throw BufferError(error)
        }
    }

    /// A register stays once it is there: an empty one is none.
    private func haltUpdate(_ halt: ForwardHalt?) -> RegisterUpdate {
        RegisterUpdate(
            name: LogForwardBuffer.haltRegister,
            expected: log.register(LogForwardBuffer.haltRegister), value: halt?.register ?? [])
    }
}

extension ForwardHalt {
    /// 16 log UUID, u64 epoch, u64 offset, little-endian; u8 length and bytes of the reason; the rest
    /// is the sentence.
    fileprivate var register: [UInt8] {
        var bytes = identifier.logUUID
        for value in [identifier.epoch, identifier.offset] {
            withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
        }
        let name = Array(reason.rawValue.utf8)
        return bytes + [UInt8(name.count)] + name + Array(sentence.utf8)
    }

    fileprivate init?(register bytes: [UInt8]) {
        guard bytes.count > 32 else { return nil }
        let (epoch, offset) = bytes.withUnsafeBytes {
            (
                UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: 16, as: UInt64.self)),
                UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: 24, as: UInt64.self))
            )
        }
        let rest = bytes[33...]
        guard rest.count >= Int(bytes[32]),
            let reason = QuarantinedFact.Reason(
                rawValue: String(decoding: rest.prefix(Int(bytes[32])), as: UTF8.self))
        else { return nil }
        self.init(
            identifier: QuarantineIdentifier(
                logUUID: Array(bytes[..<16]), epoch: epoch, offset: offset),
            reason: reason,
            sentence: String(decoding: rest.dropFirst(Int(bytes[32])), as: UTF8.self))
    }
}
