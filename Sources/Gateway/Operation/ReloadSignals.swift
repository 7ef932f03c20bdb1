internal import UnixSignals

/// SIGHUP: a node reads its configuration again. It is trapped before the first file is read, since the
/// signal would end the program until then. What comes before the node runs is kept: the files may have
/// been read before they were changed.
package struct ReloadSignals: Sendable {
    let signals: UnixSignalsSequence

    package static func trap() async -> ReloadSignals {
        ReloadSignals(signals: await UnixSignalsSequence(trapping: .sighup))
    }
}
