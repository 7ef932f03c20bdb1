internal import Facts

/// Which record of which history was put into quarantine: the place in the source's log.
package struct QuarantineIdentifier: Hashable, Sendable, CustomStringConvertible {
    /// 16 bytes.
    package let logUUID: [UInt8]
    package let epoch: UInt64
    package let offset: UInt64

    package init(logUUID: [UInt8], epoch: UInt64, offset: UInt64) {
        precondition(logUUID.count == 16, "a log's UUID has 16 bytes")
        self.logUUID = logUUID
        self.epoch = epoch
        self.offset = offset
    }

    /// `<32 hexadecimal digits>.<epoch>.<offset>`
    package init?(_ text: String) {
        let parts = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 3, let uuid = Hexadecimal.decode(Array(parts[0])), uuid.count == 16,
            let epoch = UInt64(String(decoding: parts[1], as: UTF8.self)), epoch >= 1,
            let offset = UInt64(String(decoding: parts[2], as: UTF8.self)), offset < .max
        else { return nil }
        self.init(logUUID: uuid, epoch: epoch, offset: offset)
    }

    package var description: String { "\(Hexadecimal.encode(logUUID)).\(epoch).\(offset)" }
}
