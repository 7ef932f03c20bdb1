/// What can go wrong in one call to a simulated disk.
package enum DiskFault: String, Sendable, CaseIterable {
    // Errors that the disk admits. The contract covers them: nothing acknowledged is lost.
    case readError = "read error"
    case writeError = "write error"
    /// Half of the bytes are taken and no error is given.
    case shortWrite = "short write"
    case noSpace = "no space"
    /// The cache keeps the new bytes and calls them clean; the device has some of them (ext4, XFS).
    case syncErrorCleanPages = "sync error, pages clean"
    /// The cache returns to what the device has (Btrfs).
    case syncErrorReverted = "sync error, pages reverted"
    /// The cache keeps them to be written again.
    case syncErrorKeptDirty = "sync error, pages dirty"
    case directorySyncError = "directory sync error"
    case nameError = "error on a name"

    // Damage that the disk does not admit. What is demanded is that it is found.
    /// Answered as done, never brought to the device.
    case lostWrite = "lost write"
    /// Answered as done; only its first sectors reach the device.
    case tornWrite = "torn write"
    /// Reaches the device at another place.
    case misdirectedWrite = "misdirected write"
    /// One bit of the written bytes changes on the device.
    case bitRot = "bit rot"

    // Outside the contract: a device that says a flush was done and did nothing.
    case lyingFlush = "lying flush"

    package static let admitted: [DiskFault] = [
        .readError, .writeError, .shortWrite, .noSpace, .syncErrorCleanPages, .syncErrorReverted,
        .syncErrorKeptDirty, .directorySyncError, .nameError,
    ]

    package static let silent: [DiskFault] = [.lostWrite, .tornWrite, .misdirectedWrite, .bitRot]

    func applies(to operation: DiskCall.Operation) -> Bool {
        switch self {
        case .readError: operation == .read
        case .writeError, .shortWrite, .noSpace, .lostWrite, .tornWrite, .misdirectedWrite, .bitRot:
            operation == .write
        case .syncErrorCleanPages, .syncErrorReverted, .syncErrorKeptDirty, .lyingFlush:
            operation == .synchronise
        case .directorySyncError: operation == .synchroniseDirectory
        case .nameError: operation == .create || operation == .remove || operation == .rename
        }
    }
}

/// A fault that waits for its call.
package struct FaultTrigger: Sendable {
    package enum Moment: Sendable {
        /// The given one of the calls that it applies to, counted from 1; once.
        case call(Int)
        /// Each call that it applies to, once in so many times.
        case oneIn(Int)
        case always
    }

    package var fault: DiskFault
    package var moment: Moment
    /// Only files whose path ends so; nil for all.
    package var pathSuffix: String?

    package init(_ fault: DiskFault, _ moment: Moment, pathSuffix: String? = nil) {
        self.fault = fault
        self.moment = moment
        self.pathSuffix = pathSuffix
    }
}

/// One call to a simulated disk, as observers see it.
package struct DiskCall: Sendable {
    package enum Operation: String, Sendable {
        case read, write, create, remove, rename
        case synchronise = "sync"
        case synchroniseDirectory = "sync directory"
    }

    /// Counted from 1; reads and changes together.
    package var number: Int
    package var operation: Operation
    package var path: String
    package var position = 0
    package var byteCount = 0

    package var changesDisk: Bool { operation != .read }

    package var sentence: String {
        let place = byteCount > 0 ? " \(byteCount) bytes at \(position)" : ""
        return "\(number) \(operation.rawValue) \(path)\(place)"
    }
}
