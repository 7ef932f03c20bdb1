extension ErrorReason {
    /// The text of `docs/api/errors.md`; a test requires that the committed page is this one.
    package static var documentation: String {
        var page = """
            # Errors

            Every refused call is a Connect error: `code` is one of Connect's sixteen, `message` one
            sentence that says what happened and what to do, and `details` holds exactly one
            `bsfg.v1.ErrorDetail`. A program decides by `ErrorDetail.reason`; the reasons are part of the
            contract. `retryable` says whether the same call may succeed later, `retry_after_ms` (and
            the `Retry-After` header) when; `field` is the path of what is at fault. For people with curl
            the detail is also there as JSON under `debug`.

            Retry: *no* - change the call or the configuration first; *yes*; *after* - yes, not before
            `retry_after_ms`; *yes, same id* - the facts may have been stored, so send the same message
            ids again, which is safe. A reason marked `*` belongs to the contract and is not yet
            answered by this release.

            | reason | code | HTTP | retry | what happened and what to do |
            |---|---|---|---|---|

            """
        for reason in allCases {
            let rule = reason.rule
            let name = "`\(reason.rawValue)`" + (rule.served ? "" : " *")
            page += "| \(name) | \(rule.code.rawValue) | \(rule.httpStatus) | "
            page += "\(rule.retry.rawValue) | \(rule.sentence) |\n"
        }
        return page
    }
}
