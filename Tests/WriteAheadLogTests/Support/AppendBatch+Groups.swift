@testable import WriteAheadLog

extension AppendBatch {
    /// The blocks of a sealed batch.
    var groups: [Group] { (0..<groupCount).map(group) }
}
