internal import Facts
internal import FoundationEssentials

extension Digest {
    /// As generated messages hold bytes.
    var data: Data { withUnsafeBytes { Data($0) } }
}
