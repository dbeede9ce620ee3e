//! Keys of RPKI, BMP and MRT.

use crate::read::{At, List, table};
use crate::scalar::{File, HostPort, Int, Size};
use std::time::Duration;

table! {
    /// Route origin validation (RFC 6811): what the policy match `rpki` goes by.
    Rpki {
        /// The caches that are asked (RFC 8210), such as Routinator or StayRTR. All of them are; of
        /// those that have an answer the one of the lowest preference counts.
        servers: List<RpkiServer>,
    }
}

table! {
    /// A cache of validated route origins.
    RpkiServer {
        /// Its name or address and its port, such as rpki.example.net:323 or [2001:db8::1]:8282.
        address: At<HostPort>,
        /// The lower, the better; of equal ones the first. Default: 1.
        #[schemars(extend("default" = 1))]
        preference: Option<At<Int<0, 255>>>,
        /// How often it is asked for news, besides when it has some, 1s to 24h. Default: as the cache
        /// says, else 1h.
        refresh: Option<At<Duration>>,
        /// How often it is dialled while it is away, 1s to 2h. Default: as the cache says, else 10m.
        retry: Option<At<Duration>>,
        /// For how long what it said counts while it is away, 10s to 48h. Default: as the cache says,
        /// else 2h.
        expire: Option<At<Duration>>,
    }
}

table! {
    /// A station that is told of peers and routes over BMP (RFC 7854).
    BmpStation {
        /// Its name or address and its port, such as bmp.example.net:1790.
        address: At<HostPort>,
        /// What peers announce, before the import policy. Default: true.
        #[schemars(extend("default" = true))]
        adj_in_pre: Option<At<bool>>,
        /// What the import policy has let in. Default: false.
        #[schemars(extend("default" = false))]
        adj_in_post: Option<At<bool>>,
        /// The routes that were chosen (RFC 9069). Default: false.
        #[schemars(extend("default" = false))]
        loc_rib: Option<At<bool>>,
        /// How often counters are told, 0s or 1s to 24h; 0s: never. Default: 60s.
        #[schemars(extend("default" = "60s"))]
        statistics: Option<At<Duration>>,
        /// What may wait for a station that reads slowly; with more it is cut off, and told
        /// everything from the beginning when it is back. Default: 16MiB.
        #[schemars(extend("default" = "16MiB"))]
        buffer: Option<At<Size>>,
    }
}

table! {
    /// Files in the MRT format (RFC 6396) of what was heard and of what is known.
    Mrt {
        /// Every UPDATE as it came, and when sessions came and went (BGP4MP).
        updates: Option<At<MrtUpdates>>,
        /// All routes with all of their paths, now and then (TABLE_DUMP_V2).
        rib: Option<At<MrtRib>>,
    }
}

table! {
    /// Every UPDATE as it came.
    MrtUpdates {
        /// The file, with %Y %m %d %H %M %S for the moment it begins; without any, that moment is
        /// put behind the name.
        path: At<File>,
        /// How often another file is begun, 1s to 24h. Default: 15m.
        #[schemars(extend("default" = "15m"))]
        rotate: Option<At<Duration>>,
    }
}

table! {
    /// All routes, now and then.
    MrtRib {
        /// The file, with %Y %m %d %H %M %S for the moment it begins; without any, that moment is
        /// put behind the name.
        path: At<File>,
        /// How often, 1s to 24h. Default: 2h.
        #[schemars(extend("default" = "2h"))]
        interval: Option<At<Duration>>,
    }
}
