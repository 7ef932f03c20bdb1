package import Buffers
package import Facts
internal import FoundationEssentials

extension SourcePosition {
    /// As it travels with every peer call.
    package var wire: Bsfg_V1_Position {
        var position = Bsfg_V1_Position()
        position.logUuid = Data(logUUID)
        position.epoch = epoch
        position.offset = nextOffset
        if let digest, let digestOffset {
            position.digestBefore = Data(digest.bytes)
            position.digestOffset = digestOffset
        }
        return position
    }

    /// Nil when a part is missing that every position has, or the digest is none or without its
    /// offset: a history check must not be passed by garbling what it compares.
    package init?(_ position: Bsfg_V1_Position) {
        guard position.logUuid.count == 16, position.epoch >= 1, position.hasOffset else {
            return nil
        }
        self.init(
            logUUID: Array(position.logUuid), epoch: position.epoch, nextOffset: position.offset)
        guard position.hasDigestOffset || !position.digestBefore.isEmpty else { return }
        guard position.hasDigestOffset, let digest = Digest(Array(position.digestBefore)) else {
            return nil
        }
        self.digest = digest
        digestOffset = position.digestOffset
    }
}
