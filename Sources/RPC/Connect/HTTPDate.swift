internal import Glibc

/// The time as HTTP writes it, put into text once a second. Confined to one event loop.
final class HTTPDate {
    private var second = 0
    private var written = ""

    var text: String {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME_COARSE, &now)
        if now.tv_sec != second {
            second = now.tv_sec
            written = Self.format(second)
        }
        return written
    }

    /// As in `Sun, 06 Nov 1994 08:49:37 GMT`, whatever the process's locale.
    static func format(_ second: Int) -> String {
        let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ]
        var time = tm()
        var seconds = time_t(second)
        gmtime_r(&seconds, &time)
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return days[Int(time.tm_wday)] + ", " + two(time.tm_mday) + " "
            + months[Int(time.tm_mon)] + " \(1900 + time.tm_year) "
            + [two(time.tm_hour), two(time.tm_min), two(time.tm_sec)].joined(separator: ":")
            + " GMT"
    }
}
