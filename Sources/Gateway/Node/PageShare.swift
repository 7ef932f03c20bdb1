internal import Facts
internal import Replication

/// What one pull may hold of pages that are not committed yet: its share of one budget for the whole process
/// (gateway decision 25), so that a backlog of any size in any number of streams takes bounded memory.
struct PageShare: Sendable, Equatable {
    static let budgetBytes = 64 << 20
    private static let pageBytesMaximum = 1 << 20
    private static let pageBytesMinimum = 64 << 10

    /// Pages held at a time.
    let pagesAhead: Int
    /// Asked for in one page; a page of one large record may be larger.
    let pageBytes: Int

    init(pullCount: Int) {
        let share = PageShare.budgetBytes / max(1, pullCount)
        pagesAhead = min(
            PullMachine.pagesAheadMaximum, max(1, share / PageShare.pageBytesMaximum))
        pageBytes = min(
            PageShare.pageBytesMaximum, max(PageShare.pageBytesMinimum, share / pagesAhead))
    }
}
